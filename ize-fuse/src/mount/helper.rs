//! `fusermount3` of the package fuse3, which mounts for users who may not.
//!
//! It mounts, and hands the descriptor of `/dev/fuse` back over a socket that it finds under the number in `_FUSE_COMMFD`.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::point::source;
use super::{DetachMode, MountError, MountOptions};

const HELPER: &str = "fusermount3";

pub(super) fn attach(path: &Path, options: &MountOptions) -> Result<OwnedFd, MountError> {
    let broken = |source| MountError::Session { source };
    let (ours, theirs) = UnixStream::pair().map_err(broken)?;
    // The helper finds its end of the socket as its standard input: no descriptor has to be made inheritable.
    let child = Command::new(HELPER)
        .args(["-o", &option_list(options), "--"])
        .arg(path)
        .env("_FUSE_COMMFD", "0")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| MountError::HelperMissing { source })?;
    let device = receive_descriptor(&ours);
    let output = child.wait_with_output().map_err(broken)?;
    match device.map_err(broken)? {
        Some(device) if output.status.success() => Ok(device),
        _ => Err(MountError::Helper { message: said(&output) }),
    }
}

pub(super) fn detach(path: &Path, mode: DetachMode) -> Result<(), MountError> {
    let lazy: &[&str] = match mode {
        DetachMode::RefuseIfBusy => &[],
        DetachMode::Lazy => &["-z"],
    };
    let output = Command::new(HELPER)
        .arg("-u")
        .args(lazy)
        .arg("--")
        .arg(path)
        // The helper says why in words only.
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| MountError::HelperMissing { source })?;
    let message = said(&output);
    if output.status.success() {
        Ok(())
    } else if message.contains("busy") {
        Err(MountError::Busy { path: path.to_owned() })
    } else {
        Err(MountError::Helper { message })
    }
}

fn option_list(options: &MountOptions) -> String {
    let source = source(options).replace('\\', "\\\\").replace(',', "\\,");
    let mut list = format!("default_permissions,nosuid,nodev,subtype=ize,fsname={source}");
    if options.allow_other {
        list.push_str(",allow_other");
    }
    if options.read_only {
        list.push_str(",ro");
    }
    list
}

/// Waits for the descriptor; `None` if the helper ended without sending one.
fn receive_descriptor(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0_u8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    loop {
        match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.trim();
    text.strip_prefix("fusermount3: ").unwrap_or(text).to_owned()
}
