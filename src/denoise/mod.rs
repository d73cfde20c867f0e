//! Denoisers: given x = x0 + sigma eps and sigma, answer eps.
