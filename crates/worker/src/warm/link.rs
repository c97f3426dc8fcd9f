//! The socket between this process and a runner: packets in both directions, with descriptors towards the runner.

use std::{
    io::{self, IoSlice},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    os::unix::net::UnixDatagram as StdUnixDatagram,
};

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socketpair,
};
use tokio::{io::Interest, net::UnixDatagram};

/// The longest packet: what runners say is far shorter.
const PACKET: usize = 16 * 1024;

/// Our end. Packets keep their bounds, and other than with datagrams the end of the other side is noticed.
#[derive(Debug)]
pub(super) struct Link {
    socket: UnixDatagram,
}

impl Link {
    /// Our end and the runner's.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Self { socket: UnixDatagram::from_std(StdUnixDatagram::from(ours))? }, theirs))
    }

    /// Sends a packet with these descriptors. Dropping the future before it is ready sends nothing.
    pub(super) async fn send(&self, packet: &[u8], fds: &[OwnedFd]) -> io::Result<()> {
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let control = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() { &control[..0] } else { &control[..] };
        self.socket
            .async_io(Interest::WRITABLE, || {
                let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
                let slices = [IoSlice::new(packet)];
                Ok(sendmsg::<UnixAddr>(self.socket.as_raw_fd(), &slices, control, flags, None)?)
            })
            .await
            .map(drop)
    }

    /// The next packet; None at the end. May be dropped before it is ready without loss.
    pub(super) async fn receive(&self) -> io::Result<Option<Vec<u8>>> {
        let mut packet = vec![0; PACKET];
        let length = self.socket.recv(&mut packet).await?;
        packet.truncate(length);
        Ok((length > 0).then_some(packet))
    }
}
