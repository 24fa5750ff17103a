//! Messages on a byte stream: a length, most significant byte first, and so many bytes of postcard.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest frame, in bytes, without its length.
pub(crate) const FRAME_BYTES_MAX: usize = 4 << 20;
const LENGTH_BYTES: usize = 4;

/// Writes one message. Nothing was written if it is too long.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if the message is longer than [`FRAME_BYTES_MAX`]; what the stream says.
pub(crate) fn write<T: Serialize>(stream: &mut (impl Write + ?Sized), message: &T) -> io::Result<()> {
    let frame = postcard::to_extend(message, vec![0; LENGTH_BYTES]).map_err(invalid)?;
    stream.write_all(&with_length(frame)?)?;
    stream.flush()
}

/// Puts the length in front, where room was left for it.
fn with_length(mut frame: Vec<u8>) -> io::Result<Vec<u8>> {
    let len = frame.len() - LENGTH_BYTES;
    match u32::try_from(len) {
        Ok(length) if len <= FRAME_BYTES_MAX => frame[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes()),
        _ => return Err(invalid(format!("a message of {len} bytes is too long"))),
    }
    Ok(frame)
}

/// Reads one message; `None` where the stream ends before it.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] if the frame is too long or no such message; [`io::ErrorKind::UnexpectedEof`] if the
/// stream ends inside of it; what the stream says.
pub(crate) fn read<T: DeserializeOwned>(stream: &mut (impl Read + ?Sized)) -> io::Result<Option<T>> {
    let mut length = [0; LENGTH_BYTES];
    if !read_length(stream, &mut length)? {
        return Ok(None);
    }
    let len = usize::try_from(u32::from_be_bytes(length)).map_err(invalid)?;
    if len > FRAME_BYTES_MAX {
        return Err(invalid(format!("a frame of {len} bytes is too long")));
    }
    let mut frame = vec![0; len];
    stream.read_exact(&mut frame)?;
    match postcard::take_from_bytes(&frame).map_err(invalid)? {
        (message, []) => Ok(Some(message)),
        (_, rest) => Err(invalid(format!("{} bytes follow the message in its frame", rest.len()))),
    }
}

/// Fills the length; `false` if the stream ends before its first byte.
fn read_length(stream: &mut (impl Read + ?Sized), length: &mut [u8]) -> io::Result<bool> {
    loop {
        match stream.read(&mut length[..1]) {
            Ok(0) => return Ok(false),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    stream.read_exact(&mut length[1..])?;
    Ok(true)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_of(message: &impl Serialize) -> Vec<u8> {
        let mut stream = Vec::new();
        write(&mut stream, message).unwrap();
        stream
    }

    #[test]
    fn messages_come_back_one_after_the_other() {
        let mut stream = frame_of(&"first");
        stream.extend(frame_of(&7u64));
        let mut stream = &stream[..];
        assert_eq!(read::<String>(&mut stream).unwrap().as_deref(), Some("first"));
        assert_eq!(read::<u64>(&mut stream).unwrap(), Some(7));
        assert_eq!(read::<u64>(&mut stream).unwrap(), None);
    }

    #[test]
    fn a_stream_that_ends_inside_of_a_frame_is_an_error_at_every_byte() {
        let whole = frame_of(&"message");
        for len in 1..whole.len() {
            let error = read::<String>(&mut &whole[..len]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "after {len} bytes");
        }
    }

    #[test]
    fn a_length_beyond_the_maximum_is_refused_before_allocation() {
        let error = read::<String>(&mut &u32::MAX.to_be_bytes()[..]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_message_that_is_too_long_writes_nothing() {
        let mut stream = Vec::new();
        let error = write(&mut stream, &vec![0u8; FRAME_BYTES_MAX]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(stream.is_empty());
    }

    #[test]
    fn what_follows_a_message_in_its_frame_is_refused() {
        let mut stream = frame_of(&1u8);
        stream[3] += 1;
        stream.push(0);
        assert_eq!(read::<u8>(&mut &stream[..]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
