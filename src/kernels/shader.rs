//! From a template in `shaders/` to the WGSL of one variant.
//!
//! A template is plain WGSL with a few directives, each on a separate line (see `template.rs`). The template defines
//! `struct Params`; it reads them as `call.params`. A kernel whose dispatches may be split adds `call.origin` to its
//! workgroup's place ([`Kernel::splits`]). A template does not depend on the memory of an operand, a storage buffer
//! or a storage texture (fast on software adapters, see `docs/lab-notes.md`), nor on its precision, float32 or
//! float16 ([`Shader::halves`]): `load_x` returns a `vec4<f32>`.

use std::fmt::Write;
use std::sync::OnceLock;

use super::parameters::Field;
use super::template::expand;
use crate::tensor::{Precision, TEXEL};

/// The memory of the tensors of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Memory {
    /// Storage buffers of texels: right for GPUs.
    Buffer,
    /// Storage textures of four channels, a tensor in rows of [`TEXTURE_WIDTH`] texels: right for software adapters.
    Texture,
}

/// Texels per row of a texture that holds a tensor; a power of two, so that an index splits by shift and mask.
pub const TEXTURE_WIDTH: usize = 4096;

/// The most operands of a kernel; their first texels are the first words of a call.
pub const MAX_OPERANDS: usize = 8;

/// The CPU twin of a kernel: a function of the parameters and the operands it reads, which writes the result.
pub type Twin = fn(params: &[u32], reads: &[&[f32]], write: &mut [f32]);

/// A kernel: a template and its CPU twin.
#[derive(Debug)]
pub struct Kernel {
    /// The name of the template, without directory and suffix.
    pub name: &'static str,
    /// The template's text.
    pub template: &'static str,
    /// Its parameters: those of the shader, then those of the twin alone.
    pub params: &'static [Field],
    /// The same computation on the host.
    pub twin: Twin,
    /// Declarations of the template, which each dispatch asks for; empty until the first one does.
    pub(crate) declared: OnceLock<Declared>,
}

/// Declarations of a template.
#[derive(Debug)]
pub(crate) struct Declared {
    /// The operands in binding order.
    operands: Vec<(Access, &'static str)>,
    /// The place of the packed weights among them.
    weights: Option<usize>,
    /// The extensions of the language that it needs.
    extensions: Vec<&'static str>,
    /// See [`Kernel::splits`].
    splits: bool,
}

impl Declared {
    fn of(kernel: &Kernel) -> Self {
        let mut found = Self { operands: Vec::new(), weights: None, extensions: Vec::new(), splits: false };
        for directive in kernel.lines().filter_map(|line| line.trim().strip_prefix("//#")) {
            let words: Vec<_> = directive.split_whitespace().collect();
            match words[..] {
                ["read", name] => found.operands.push((Access::Read, name)),
                ["write", name] => found.operands.push((Access::Write, name)),
                ["weights", name] => {
                    found.weights = Some(found.operands.len());
                    found.operands.push((Access::Read, name));
                }
                ["enable", name] => found.extensions.push(name),
                ["split"] => found.splits = true,
                _ => {}
            }
        }
        found
    }
}

impl Kernel {
    /// The declarations of its template.
    fn declared(&self) -> &Declared {
        self.declared.get_or_init(|| Declared::of(self))
    }

    /// True if a dispatch may be cut in several, each with a part of the grid: the template says `//#split`, and adds
    /// `call.origin` to the place of a workgroup.
    #[must_use]
    pub fn splits(&self) -> bool {
        self.declared().splits
    }

    /// The lines of its template, with the shared pieces in place.
    pub fn lines(&self) -> impl Iterator<Item = &'static str> + use<> {
        include_shared(self.template).into_iter()
    }
}

/// One variant of a kernel, from which a pipeline is compiled.
#[derive(Clone, Debug)]
pub struct Shader {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// The memory of its operands.
    pub memory: Memory,
    /// The constants that make this variant, in the order of their declaration.
    pub constants: Vec<(&'static str, u32)>,
    /// The operands in float16, by their places; the written one only in storage buffers.
    pub halves: Vec<usize>,
}

impl PartialEq for Shader {
    fn eq(&self, other: &Self) -> bool {
        (self.kernel.name, self.memory, &self.constants, &self.halves)
            == (other.kernel.name, other.memory, &other.constants, &other.halves)
    }
}

impl Eq for Shader {}

impl std::hash::Hash for Shader {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (self.kernel.name, self.memory, &self.constants, &self.halves).hash(state);
    }
}

impl std::fmt::Display for Shader {
    /// `conv2d.lanes<KX=3,STRIDE=1>`, and `conv2d.lanes<KX=3,STRIDE=1,weights=f16>` with weights in float16;
    /// constants that are zero are omitted.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kernel.name)?;
        let set = self.constants.iter().filter(|(_, value)| *value != 0);
        let mut words: Vec<_> = set.map(|(name, value)| format!("{name}={value}")).collect();
        for (at, (_, name)) in self.operands().iter().enumerate() {
            match self.precision(at) {
                Precision::Float32 => {}
                precision @ Precision::Float16 => words.push(format!("{name}={precision}")),
            }
        }
        if words.is_empty() { Ok(()) } else { write!(f, "<{}>", words.join(",")) }
    }
}

/// The access of a shader to an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Only read.
    Read,
    /// Only written.
    Write,
}

impl Shader {
    /// The operands in binding order (binding 0 holds the parameters, operand i is binding i + 1).
    #[must_use]
    pub fn operands(&self) -> &'static [(Access, &'static str)] {
        &self.kernel.declared().operands
    }

    /// The precision of an operand.
    #[must_use]
    pub fn precision(&self, operand: usize) -> Precision {
        if self.halves.contains(&operand) { Precision::Float16 } else { Precision::Float32 }
    }

    /// The place among the operands of the packed weights, which the template declares by `//#weights`; `None` without.
    #[must_use]
    pub fn weights_place(&self) -> Option<usize> {
        self.kernel.declared().weights
    }

    /// These shaders, and each with its weights in float16.
    #[must_use]
    pub(super) fn with_half_weights(shaders: Vec<Self>) -> Vec<Self> {
        let halved = |shader: &Self| Self { halves: shader.weights_place().into_iter().collect(), ..shader.clone() };
        let halves: Vec<_> = shaders.iter().map(halved).collect();
        [shaders, halves].concat()
    }

    /// The WGSL of this variant.
    ///
    /// # Panics
    /// On a malformed template: templates are compiled in, and a test composes every variant of every one.
    #[must_use]
    pub fn wgsl(&self) -> String {
        let mut text = String::new();
        for extension in &self.kernel.declared().extensions {
            let _ = writeln!(text, "enable {extension};");
        }
        for (name, value) in &self.constants {
            let _ = writeln!(text, "const {name}: u32 = {value}u;");
        }
        let declared = match self.memory {
            Memory::Buffer => "var<uniform> call: Call;",
            Memory::Texture => "var<uniform> given: Call;\nvar<private> call: Call;",
        };
        let _ = writeln!(
            text,
            "struct Call {{ bases: array<vec4<u32>, {}>, origin: vec4<u32>, params: Params }}\n\
             @group(0) @binding(0) {declared}",
            MAX_OPERANDS / TEXEL
        );
        for (index, (access, name)) in self.operands().iter().enumerate() {
            text.push_str(&self.declare(index, *access, name));
        }
        let scope: Vec<_> =
            self.constants.iter().map(|(name, value)| ((*name).to_owned(), i64::from(*value))).collect();
        let lines: Vec<_> = include_shared(self.kernel.template);
        expand(&lines, &scope, &mut text);
        match self.memory {
            Memory::Buffer => text,
            Memory::Texture => with_copied_parameters(&text),
        }
    }

    /// The binding of one operand and its accessor.
    fn declare(&self, index: usize, access: Access, name: &str) -> String {
        let binding = index + 1;
        let base = format!("call.bases[{}][{}]", index / TEXEL, index % TEXEL);
        let mode = if access == Access::Read { "read" } else { "write" };
        let half = self.precision(index) == Precision::Float16;
        let format = if half { "rgba16float" } else { "rgba32float" };
        let (declaration, place) = match self.memory {
            Memory::Buffer => {
                let space = if access == Access::Read { "storage, read" } else { "storage, read_write" };
                let texel = if half { "vec2<u32>" } else { "vec4<f32>" };
                (format!("var<{space}> {name}: array<{texel}>;"), "")
            }
            Memory::Texture => (
                format!("var {name}: texture_storage_2d<{format}, {mode}>;"),
                "vec2<u32>(j & TEXTURE_MASK, j >> TEXTURE_SHIFT)",
            ),
        };
        let place = place
            .replace("TEXTURE_MASK", &format!("{}u", TEXTURE_WIDTH - 1))
            .replace("TEXTURE_SHIFT", &format!("{}u", TEXTURE_WIDTH.trailing_zeros()));
        let body = match (self.memory, access) {
            // Every device can pack; arithmetic in float16 would need a feature and lose precision.
            (Memory::Buffer, Access::Read) if half => format!(
                "let halves = {name}[j]; return vec4<f32>(unpack2x16float(halves.x), unpack2x16float(halves.y));"
            ),
            (Memory::Buffer, Access::Read) => format!("return {name}[j];"),
            (Memory::Buffer, Access::Write) if half => {
                format!("{name}[j] = vec2<u32>(pack2x16float(v.xy), pack2x16float(v.zw));")
            }
            (Memory::Buffer, Access::Write) => format!("{name}[j] = v;"),
            (Memory::Texture, Access::Read) => format!("return textureLoad({name}, {place});"),
            (Memory::Texture, Access::Write) => format!("textureStore({name}, {place}, v);"),
        };
        let signature = match access {
            Access::Read => format!("fn load_{name}(i: u32) -> vec4<f32>"),
            Access::Write => format!("fn store_{name}(i: u32, v: vec4<f32>)"),
        };
        format!("@group(0) @binding({binding}) {declaration}\n{signature} {{ let j = i + {base}; {body} }}\n")
    }
}

/// Makes the entry point copy the call into variables first. A software adapter loads a uniform once for all lanes
/// only outside of loops and branches, elsewhere once per lane (lavapipe, Mesa 22 to 25). If uniforms alone decide a
/// branch, it may also compile the shader again at each dispatch with their values in it; a bit from elsewhere, which
/// is always zero, prevents that.
fn with_copied_parameters(text: &str) -> String {
    const MAIN: &str = "fn main(";
    let (before, main) = text.split_once(MAIN).unwrap_or_else(|| panic!("a template without `{MAIN}`"));
    let (inputs, body) = main.split_once("{\n").unwrap_or_else(|| panic!("`{MAIN}` without a body"));
    let fields = before.lines().skip_while(|line| *line != "struct Params {").take_while(|line| *line != "}");
    let words = fields.filter_map(|line| line.trim().strip_suffix(": u32,"));
    let mut text = format!(
        "{before}{MAIN}@builtin(num_workgroups) all_workgroups: vec3<u32>, {inputs}{{\n    \
         let zero = all_workgroups.x >> 31u;\n    call = given;\n"
    );
    for name in words {
        let _ = writeln!(text, "    call.params.{name} |= zero;");
    }
    text + body
}

/// The template's lines with the shared pieces in place: declarations at their first use, statements at each.
fn include_shared(template: &'static str) -> Vec<&'static str> {
    fn include(text: &'static str, included: &mut Vec<&'static str>, lines: &mut Vec<&'static str>) {
        for line in text.lines() {
            match line.trim().split_once(' ').map(|(directive, name)| (directive, name.trim())) {
                Some(("//#include", name)) if included.contains(&name) => {}
                Some(("//#include", name)) => {
                    included.push(name);
                    include(shared(name), included, lines);
                }
                Some(("//#insert", name)) => include(shared(name), included, lines),
                _ => lines.push(line),
            }
        }
    }
    let mut lines = Vec::new();
    include(template, &mut Vec::new(), &mut lines);
    lines
}

/// Pieces that several templates share, by name: the files of `shaders/shared/`.
macro_rules! shared {
    ($($name:literal,)*) => {
        [$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/shared/", $name, ".wgsl")))),*]
    };
}

static SHARED: [(&str, &str); 29] = shared![
    "activation",
    "affine",
    "conv2d_params",
    "conv2d_tile_fetch",
    "epilogue",
    "flat",
    "fold",
    "group_norm_fold_params",
    "group_norm_params",
    "group_sets",
    "joined",
    "matmul_params",
    "matmul_tile_fetch",
    "matrix",
    "matrix_step",
    "matrix_store",
    "or_zero",
    "patch_means",
    "primal",
    "register_tile",
    "register_tile_step",
    "row_step",
    "slope",
    "softmax_rows",
    "source",
    "tiles",
    "window",
    "winograd",
    "workgroup_total",
];

/// The text of a shared piece.
fn shared(name: &str) -> &'static str {
    let piece = SHARED.iter().find(|(shared, _)| *shared == name);
    piece.map_or_else(|| panic!("no shared shader `{name}`"), |(_, text)| text)
}
