//! Networks: from a diffusers configuration to a graph.
