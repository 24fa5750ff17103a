//! Unix sockets whose path may be longer than `sun_path` (108 bytes): they are reached through a descriptor of their
//! folder, as `/proc/self/fd/7/socket`.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Makes the socket and listens. What is there already is a socket that an ended process left: the caller is the
/// project's owner.
pub(super) fn listen(socket: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (_folder, path) = short(socket)?;
    let listener = UnixListener::bind(&path)?;
    // Until here, the folder's own permissions kept others out.
    fs::set_permissions(socket, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects; `None` if nobody listens.
pub(super) fn connect(socket: &Path) -> io::Result<Option<UnixStream>> {
    let connected = short(socket).and_then(|(_folder, path)| UnixStream::connect(path));
    match connected {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells whether the process at the other end belongs to this process's user, or to root.
pub(super) fn is_owner(stream: &UnixStream) -> io::Result<bool> {
    let peer = rustix::net::sockopt::socket_peercred(stream)?;
    Ok(peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}

fn short(socket: &Path) -> io::Result<(File, PathBuf)> {
    let folder = socket.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name: &OsStr = socket.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = File::open(folder)?;
    let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok((folder, path))
}
