//! An engine with the options to compile for it.

use super::op::Graph;
use super::options::{CompileOptions, Target};
use super::{Plan, Program, WeightAccess};
use crate::error::Result;
use crate::kernels::Engine;

/// An engine and the options with which graphs are compiled for it: the one way to plan for a device, so that the plan
/// that is reported is the plan that runs. A reference to an engine converts into a compiler with default options.
#[derive(Clone, Copy)]
pub struct Compiler<'e> {
    /// The device and its kernels.
    pub engine: &'e Engine,
    /// The options.
    pub options: CompileOptions,
}

impl<'e> Compiler<'e> {
    /// A compiler for `engine`.
    #[must_use]
    pub const fn new(engine: &'e Engine, options: CompileOptions) -> Self {
        Self { engine, options }
    }

    /// Everything about the adapter that a plan depends on.
    #[must_use]
    pub fn target(&self) -> Target<'e> {
        Target::of(self.engine)
    }

    /// Plans a graph.
    #[must_use]
    pub fn plan(&self, graph: &Graph) -> Plan {
        Plan::new(graph, &self.target(), &self.options)
    }

    /// Plans a graph and makes it ready to run.
    ///
    /// # Errors
    /// As [`Program::new`].
    pub fn program(&self, graph: &Graph, fetch: &WeightAccess) -> Result<Program<'e>> {
        Program::new(self.engine, self.plan(graph), fetch)
    }
}

impl<'e> From<&'e Engine> for Compiler<'e> {
    fn from(engine: &'e Engine) -> Self {
        Self::new(engine, CompileOptions::default())
    }
}
