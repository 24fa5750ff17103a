//! Numbers of seven bits per byte, the least significant first, as postcard writes them.

/// Appends a number.
pub(crate) fn push(value: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        value.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    value.push(number.to_le_bytes()[0]);
}

/// Takes a number off the front; `None` if there is none.
pub(crate) fn pop(value: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = value.split_first()?;
        *value = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
