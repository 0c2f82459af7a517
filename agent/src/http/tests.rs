//! The metadata port as pods see it, over loopback, with a fake server behind it.
