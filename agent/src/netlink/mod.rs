//! Netlink, by which the kernel is asked, told and listened to: messages of attributes, and sockets. The rules
//! (`intercept/nftables`) and the network's routes and neighbours (`network`) speak it.

mod message;
mod socket;

pub(crate) use message::{Attributes, Read, Received, message};
pub(crate) use socket::{Socket, group};
