//! Admissible schedules.
