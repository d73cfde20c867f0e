//! Kernels: for each, its shader's parameters, its shape check and its CPU twin.
