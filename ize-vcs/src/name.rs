//! How names are written in the repository: Pijul's names are UTF-8 of at most 255 bytes, ours are bytes.
//!
//! A name that is UTF-8 is itself. Any other begins with `%ize%`, and each of its bytes that is not a printable ASCII
//! character, or is `%`, is written as `%` and two hexadecimal digits. If that is too long, it is `%ize#` and the first
//! 16 bytes of the name's blake3 hash in hexadecimal. Names that begin with `%ize` themselves, and `.pijul`, are written so
//! too: so no two names are written alike, and no folder looks like a repository to Pijul.

use ize_core::model::Name;
use libpijul::DOT_DIR;
use libpijul::small_string::MAX_LENGTH;

const RESERVED: &str = "%ize";
const ESCAPED: &str = "%ize%";
const HASHED: &str = "%ize#";

/// Writes a name as the repository has it.
pub(crate) fn write(name: &Name) -> String {
    match std::str::from_utf8(name.as_bytes()) {
        Ok(text) if !text.starts_with(RESERVED) && text != DOT_DIR => text.to_owned(),
        _ => escape(name),
    }
}

fn escape(name: &Name) -> String {
    let mut text = ESCAPED.to_owned();
    for byte in name.as_bytes() {
        match byte {
            b'!'..=b'~' if *byte != b'%' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("%{byte:02x}")),
        }
    }
    if text.len() <= MAX_LENGTH {
        return text;
    }
    let hash = blake3::hash(name.as_bytes());
    hash.as_bytes()[..16].iter().fold(HASHED.to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// What a name in the repository stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// This name.
    Name(Name),
    /// A name that is too long to be written; it is known by its hash only.
    Hashed,
}

/// Reads a name of the repository. What no name is written as stands for itself, as far as it can be a name.
pub(crate) fn read(text: &str) -> Option<Read> {
    if text.starts_with(HASHED) {
        return Some(Read::Hashed);
    }
    let unescaped = text.strip_prefix(ESCAPED).and_then(unescape).and_then(|bytes| Name::new(bytes).ok());
    match unescaped.filter(|name| write(name) == text) {
        Some(name) => Some(Read::Name(name)),
        None => Name::try_from(text).ok().map(Read::Name),
    }
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        match rest {
            [] => return Some(bytes),
            [b'%', digits @ ..] => {
                let digits = std::str::from_utf8(digits.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[3..];
            }
            [byte, more @ ..] => {
                bytes.push(*byte);
                rest = more;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bytes: &[u8]) -> String {
        write(&Name::new(bytes.to_vec()).unwrap())
    }

    #[test]
    fn text_is_itself_and_the_rest_is_escaped() {
        assert_eq!(written("Übung 100%.txt".as_bytes()), "Übung 100%.txt");
        assert_eq!(written(b"caf\xe9 %"), "%ize%caf%e9%20%25");
        assert_eq!(written(b".pijul"), "%ize%.pijul");
        assert_eq!(written(b"%ize%a"), "%ize%%25ize%25a");
        assert!(written(&[0xff; 255]).starts_with(HASHED));
    }

    #[test]
    fn every_name_is_read_back_and_none_is_too_long() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..5_000 {
            let len = random.usize(1..=255);
            let alphabet: &[u8] = if random.bool() { b"%ize#.pjul \xc3\xa9\xff" } else { b"abc%" };
            let bytes: Vec<u8> = (0..len).map(|_| alphabet[random.usize(..alphabet.len())]).collect();
            let Ok(name) = Name::new(bytes) else { continue };
            let text = write(&name);
            assert!(text.len() <= MAX_LENGTH);
            match read(&text).unwrap() {
                Read::Name(back) => assert_eq!(back, name),
                Read::Hashed => assert!(escape(&name).starts_with(HASHED)),
            }
        }
    }
}
