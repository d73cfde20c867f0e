//! Sampling: schedules, and the loop that iterates a denoiser.
