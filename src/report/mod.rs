//! What a run leaves behind: images, arrays, JSON, progress.
