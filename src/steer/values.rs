//! Values of maps and of a program's read-only data as the kernel has them: bytes, words in this machine's byte order, and a block for
//! each CPU. What they mean is said where a contract is mirrored.

/// Adds up the blocks that the kernel gives for each CPU, word by word.
pub(crate) fn add_cpus<'a>(sums: &mut [u64], blocks: impl Iterator<Item = &'a [u8]>) {
    for block in blocks {
        for (sum, word) in sums.iter_mut().zip(block.as_chunks().0) {
            *sum = sum.wrapping_add(u64::from_ne_bytes(*word));
        }
    }
}

/// The fields of a structure one behind the other.
///
/// # Panics
///
/// If they do not make up `N` bytes: a test holds each structure against its header.
pub(crate) fn joined<const N: usize>(fields: impl IntoIterator<Item = (&'static str, Vec<u8>)>) -> [u8; N] {
    let bytes: Vec<u8> = fields.into_iter().flat_map(|(_, field)| field).collect();
    bytes.try_into().expect("the fields make up the structure")
}
