//! GPT-2's alphabet: byte-level BPE writes every byte as one printable letter.

/// The letter for a byte: printable Latin-1 stands for itself, the letters from U+0100 on for the other bytes in
/// their order.
pub fn letter_of(byte: u8) -> char {
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !printable(*byte)).count();
    u32::try_from(before).ok().and_then(|before| char::from_u32(256 + before)).unwrap_or_default()
}

/// The byte that a letter stands for.
pub fn byte_of(letter: char) -> Option<u8> {
    let code = u32::from(letter);
    match u8::try_from(code) {
        Ok(byte) => printable(byte).then_some(byte),
        Err(_) => (0..=u8::MAX).filter(|byte| !printable(*byte)).nth(usize::try_from(code - 256).ok()?),
    }
}

/// The letters for some bytes.
pub fn letters_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| letter_of(*byte)).collect()
}

/// What the byte-level decoder makes of one token: bytes, if every letter stands for one, else the token itself.
pub fn decode(token: &str) -> String {
    match token.chars().map(byte_of).collect::<Option<Vec<u8>>>() {
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        None => token.to_owned(),
    }
}

fn printable(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_bytes_and_back() {
        for byte in 0..=u8::MAX {
            assert_eq!(byte_of(letter_of(byte)), Some(byte));
        }
        assert_eq!(letters_of(b" a\n\x7f\xad"), "\u{120}a\u{10a}\u{121}\u{143}");
        assert_eq!(byte_of('\u{144}'), None);
    }
}
