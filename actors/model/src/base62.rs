//! Fixed-width base 62 with the alphabet `0-9a-zA-Z`, most significant digit first.

const ALPHABET: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// Appends `value` with exactly `width` digits; the caller picks a width that fits every value of its type.
pub(crate) fn encode(mut value: u128, width: usize, out: &mut String) {
    let mut digits = [b'0'; 22];
    for digit in digits[..width].iter_mut().rev() {
        *digit = ALPHABET[(value % 62) as usize];
        value /= 62;
    }
    debug_assert_eq!(value, 0, "width too small for the value");
    out.extend(digits[..width].iter().map(|digit| char::from(*digit)));
}

/// The value of `text`, or `None` for a foreign character or a value above `u128::MAX`.
pub(crate) fn decode(text: &str) -> Option<u128> {
    text.bytes().try_fold(0u128, |value, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'z' => byte - b'a' + 10,
            b'A'..=b'Z' => byte - b'A' + 36,
            _ => return None,
        };
        value.checked_mul(62)?.checked_add(u128::from(digit))
    })
}
