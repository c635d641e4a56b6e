//! Large tables in large pages. A random access to a table of a gigabyte in pages of 4 KiB misses the translation cache before
//! it misses the data cache; in pages of 2 MiB the translations of the whole table fit.
//!
//! The kernel is only asked for them (transparent huge pages, `madvise`): nothing is reserved, no privilege is needed, and where it has none
//! the table is in ordinary pages. Every page is written before a table is handed out, so that no access to it later waits for the kernel.

use core::mem::MaybeUninit;

/// Tables smaller than this are not worth the question: two huge pages.
#[cfg(target_os = "linux")]
const WORTH_BYTES: usize = 4 << 20;
/// Pages that the kernel always has.
#[cfg(target_os = "linux")]
const PAGE: usize = 4096;

/// A table of these values.
pub fn table<T>(values: impl ExactSizeIterator<Item = T>) -> Box<[T]> {
    let mut table = Vec::with_capacity(values.len());
    ask_for_huge_pages(table.spare_capacity_mut());
    table.extend(values);
    table.into_boxed_slice()
}

/// Asks the kernel to back this memory, which nobody has touched yet, with huge pages.
#[cfg(all(target_os = "linux", not(miri)))]
fn ask_for_huge_pages<T>(memory: &mut [MaybeUninit<T>]) {
    let bytes = size_of_val(memory);
    if bytes < WORTH_BYTES {
        return;
    }
    let start = memory.as_mut_ptr().cast::<u8>();
    let skipped = start.align_offset(PAGE);
    let whole_pages = (bytes - skipped) / PAGE * PAGE;
    let first_page = start.wrapping_add(skipped);
    // SAFETY: the range lies inside of `memory`, which is borrowed for writing. The advice changes how the kernel backs the memory, not
    // what is in it.
    let asked = unsafe { rustix::mm::madvise(first_page.cast(), whole_pages, rustix::mm::Advice::LinuxHugepage) };
    // A kernel without them says so; the table is slower then, not wrong.
    let _ = asked;
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn ask_for_huge_pages<T>(_memory: &mut [MaybeUninit<T>]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_small_or_large_holds_what_was_made() {
        for len in [0, 1, 1000, (8 << 20) / 8 + 3] {
            let values = table((0..len).map(|index| index * 3));
            assert_eq!(values.len(), len);
            assert!(values.iter().enumerate().all(|(index, value)| *value == index * 3));
        }
    }
}
