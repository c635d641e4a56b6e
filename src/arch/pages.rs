//! Large tables in large pages. A random access to a table of a gigabyte in pages of 4 KiB misses the translation cache before
//! it misses the data cache; in pages of 2 MiB the translations of the whole table fit.
//!
//! The kernel is only asked for them (transparent huge pages, `madvise`): nothing is reserved, no privilege is needed, and where it has none
//! the table is in ordinary pages. Every page is written before a table is handed out, so that no access to it later waits for the kernel.
//! Clearing them is most of what the start of a large engine takes, so all cores do it together.

use core::mem::MaybeUninit;

/// Tables smaller than this are not worth the question: two huge pages.
#[cfg(target_os = "linux")]
const WORTH_BYTES: usize = 4 << 20;
/// What the kernel clears at once where it has huge pages.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;
/// Pages that the kernel always has.
#[cfg(target_os = "linux")]
const PAGE: usize = 4096;

/// A table of these values.
pub fn table<T>(values: impl ExactSizeIterator<Item = T>) -> Box<[T]> {
    let mut table = Vec::with_capacity(values.len());
    back_with_huge_pages(table.spare_capacity_mut());
    table.extend(values);
    table.into_boxed_slice()
}

/// Asks the kernel to back this memory, which nobody has touched yet, with huge pages, and has it do so at once, on all cores.
#[cfg(all(target_os = "linux", not(miri)))]
fn back_with_huge_pages<T>(memory: &mut [MaybeUninit<T>]) {
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
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = whole_pages.div_ceil(cores).next_multiple_of(HUGE_PAGE);
    std::thread::scope(|scope| {
        for at in (0..whole_pages).step_by(share) {
            let piece = Piece { start: first_page.wrapping_add(at), bytes: share.min(whole_pages - at) };
            scope.spawn(move || piece.populate());
        }
    });
}

/// A part of memory that is borrowed for writing.
#[cfg(all(target_os = "linux", not(miri)))]
struct Piece {
    start: *mut u8,
    bytes: usize,
}

// SAFETY: the pointer is only given to the kernel, by one thread, while whoever made the piece holds the memory and waits.
#[cfg(all(target_os = "linux", not(miri)))]
unsafe impl Send for Piece {}

#[cfg(all(target_os = "linux", not(miri)))]
impl Piece {
    /// Has the kernel make the pages (Linux 5.14; an older one makes each when it is first written).
    fn populate(self) {
        // SAFETY: the range lies inside of memory that is borrowed for writing until this returns; populating it changes no byte of it.
        let populated =
            unsafe { rustix::mm::madvise(self.start.cast(), self.bytes, rustix::mm::Advice::LinuxPopulateWrite) };
        let _ = populated;
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
fn back_with_huge_pages<T>(_memory: &mut [MaybeUninit<T>]) {}

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
