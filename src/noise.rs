//! Reproducible noise, made on the host.
