//! Model files: safetensors, diffusers folders, the hub cache, key mapping, the embedded model.
