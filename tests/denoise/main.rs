//! Denoisers on a device: closed forms against float64, and their Jacobians.

#[path = "../common/mod.rs"]
mod common;

mod closed_form;
mod ideal;
mod jacobian;
mod linear_denoisers;
mod local;
mod mixture;
