//! The vault against an STS that speaks the real protocol and misbehaves, and with the whole product around it.

mod clock;
mod faults;
mod restart;
mod sdks;
