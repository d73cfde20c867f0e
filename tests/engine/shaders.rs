//! Every variant of every shader, on paper: naga validates it and writes it as SPIR-V, MSL and HLSL, so that devices
//! which are not at hand are checked too.

use std::collections::BTreeSet;

use downhill::kernels::parameters::{Field, FieldType};
use downhill::kernels::shader::MAX_OPERANDS;
use downhill::kernels::{Family, Shader, all_variants};
use naga::back::hlsl::ShaderModel;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, Scalar, Statement, Type, TypeInner};
use rayon::prelude::*;

/// The smallest workgroup memory that WebGPU lets a device have.
const WORKGROUP_BYTES: u32 = 16384;

fn families() -> [Family; 7] {
    [
        Family::Tile,
        Family::Matrix { width: 8, side: 8 },
        Family::Matrix { width: 32, side: 16 },
        Family::Lanes { width: 4 },
        Family::Lanes { width: 8 },
        Family::Lanes { width: 16 },
        Family::Lanes { width: 32 },
    ]
}

/// Every variant of a family; of the kernels on storage buffers, each also with every operand in float16.
fn variants(family: Family) -> Vec<Shader> {
    let all = all_variants(family);
    if family != Family::Tile {
        return all;
    }
    let of_values = |shader: &&Shader| shader.halves.is_empty();
    let halved = |shader: &Shader| Shader { halves: (0..shader.operands().len()).collect(), ..shader.clone() };
    let halves: Vec<_> = all.iter().filter(of_values).map(halved).collect();
    [all, halves].concat()
}

/// Parses and validates a variant, once for all checks.
fn validated(shader: &Shader) -> (Module, ModuleInfo) {
    let text = shader.wgsl();
    let module =
        naga::front::wgsl::parse_str(&text).unwrap_or_else(|error| panic!("{shader}: {}", error.emit_to_string(&text)));
    // Unpacking float16 into float32 asks for no feature of a device on Vulkan, Metal or Direct3D.
    let usual = Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let units = Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX;
    let capabilities = match shader {
        shader if uses_matrix_units(shader) => usual | units,
        shader if computes_in_float16(shader) => usual | Capabilities::SHADER_FLOAT16,
        _ => usual,
    };
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .validate(&module)
        .unwrap_or_else(|error| panic!("{shader}: {}", error.emit_to_string(&text)));
    (module, info)
}

#[test]
fn every_variant_is_valid_and_keeps_to_the_rules() {
    let all: Vec<_> = families()
        .into_iter()
        .flat_map(|family| variants(family).into_iter().map(move |shader| (family, shader)))
        .collect();
    all.par_iter().for_each(|(family, shader)| {
        let (module, info) = validated(shader);
        is_written_for_vulkan_metal_and_direct3d(shader, &module, &info);
        reaches_operands_through_their_accessors_only(shader, &module);
        fits_the_workgroup_memory_of_every_device(*family, shader, &module);
        has_invocations_that_are_granted_everywhere(shader, &module);
        has_the_block_of_parameters_of_its_kernel(shader, &module);
    });
}

/// Whether a shader is for devices with matrix units only; wgpu reaches these through Vulkan.
fn uses_matrix_units(shader: &Shader) -> bool {
    shader.kernel.name.ends_with(".matrix")
}

/// Whether a shader computes in float16, which a device may not offer: that of a roof alone.
fn computes_in_float16(shader: &Shader) -> bool {
    shader.kernel.name == "probe_half"
}

fn is_written_for_vulkan_metal_and_direct3d(shader: &Shader, module: &Module, info: &ModuleInfo) {
    let spirv = naga::back::spv::Options { lang_version: (1, 3), ..Default::default() };
    let words = naga::back::spv::write_vec(module, info, &spirv, None)
        .unwrap_or_else(|error| panic!("{shader} as SPIR-V: {error}"));
    assert_eq!(words.first(), Some(&0x0723_0203), "{shader}: not the magic number of SPIR-V");
    if uses_matrix_units(shader) {
        return;
    }

    let metal = naga::back::msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
    let (text, _) = naga::back::msl::write_string(module, info, &metal, &naga::back::msl::PipelineOptions::default())
        .unwrap_or_else(|error| panic!("{shader} as MSL: {error}"));
    assert!(text.contains("kernel void main_"), "{shader}: no kernel in the MSL");

    let direct3d = naga::back::hlsl::Options {
        shader_model: if computes_in_float16(shader) { ShaderModel::V6_2 } else { ShaderModel::V6_0 },
        fake_missing_bindings: true,
        ..Default::default()
    };
    let (mut text, pipeline) = (String::new(), naga::back::hlsl::PipelineOptions::default());
    naga::back::hlsl::Writer::new(&mut text, &direct3d, &pipeline)
        .write(module, info, None)
        .unwrap_or_else(|error| panic!("{shader} as HLSL: {error}"));
    assert!(text.contains("[numthreads("), "{shader}: no kernel in the HLSL");
}

fn reaches_operands_through_their_accessors_only(shader: &Shader, module: &Module) {
    let operands = shader.operands();
    assert!(operands.len() <= MAX_OPERANDS, "{shader}: {} operands", operands.len());
    let is_operand = |space: AddressSpace| matches!(space, AddressSpace::Storage { .. } | AddressSpace::Handle);
    let declared = module.global_variables.iter().filter(|(_, variable)| is_operand(variable.space)).count();
    assert_eq!(declared, operands.len(), "{shader}: a storage that is not an operand");

    let entries = module.entry_points.iter().map(|entry| (entry.name.as_str(), &entry.function));
    let functions = module.functions.iter().map(|(_, function)| (function.name.as_deref().unwrap_or(""), function));
    for (name, function) in entries.chain(functions) {
        for (_, expression) in function.expressions.iter() {
            let naga::Expression::GlobalVariable(handle) = expression else { continue };
            let variable = &module.global_variables[*handle];
            let operand = variable.name.as_deref().unwrap_or("");
            let accessor = name == format!("load_{operand}") || name == format!("store_{operand}");
            assert!(!is_operand(variable.space) || accessor, "{shader}: `{name}` touches `{operand}`");
        }
    }
}

fn fits_the_workgroup_memory_of_every_device(family: Family, shader: &Shader, module: &Module) {
    let bytes: u32 = module
        .global_variables
        .iter()
        .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup)
        .map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()))
        .sum();
    assert!(bytes <= WORKGROUP_BYTES, "{shader}: {bytes} bytes of workgroup memory");
    // The probes of the self-test look for what the others avoid.
    if matches!(family, Family::Lanes { .. }) && !shader.kernel.name.starts_with("probe_") {
        // Software adapters turn a kernel with a barrier into coroutines that spill everything.
        let text = shader.wgsl();
        assert!(bytes == 0 && !text.contains("Barrier("), "{shader}: a barrier or workgroup memory");
    }
}

fn has_invocations_that_are_granted_everywhere(shader: &Shader, module: &Module) {
    assert_eq!(module.entry_points.len(), 1, "{shader}");
    let size: u32 = module.entry_points[0].workgroup_size.iter().product();
    assert!((1..=256).contains(&size), "{shader}: {size} invocations");
    assert!(writes_something(module), "{shader}: stores nothing");
}

/// Whether an accessor stores to an operand.
fn writes_something(module: &Module) -> bool {
    module.functions.iter().any(|(_, function)| {
        let name = function.name.as_deref().unwrap_or("");
        let stores =
            |statement: &Statement| matches!(statement, Statement::Store { .. } | Statement::ImageStore { .. });
        name.starts_with("store_") && function.body.iter().any(stores)
    })
}

#[test]
fn variants_are_distinct_and_leave_no_template_out() {
    let mut used = BTreeSet::new();
    for family in families() {
        let variants = all_variants(family);
        for (index, shader) in variants.iter().enumerate() {
            assert!(!variants[..index].contains(shader), "{shader} stands twice");
            used.insert(format!("{}.wgsl", shader.kernel.name));
        }
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let templates: BTreeSet<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wgsl"))
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .collect();
    assert_eq!(used, templates);
}

/// The words of a block of parameters in their order; `None` for a word that only the shader names.
fn words(fields: &'static [Field]) -> Vec<(Option<&'static str>, Option<Scalar>)> {
    let of = |field: &Field| match field.kind {
        FieldType::U32 => vec![(Some(field.name), Some(Scalar::U32))],
        FieldType::F32 => vec![(Some(field.name), Some(Scalar::F32))],
        FieldType::Words(count) => vec![(None, None); count],
        FieldType::Block(fields) => words(fields),
    };
    fields.iter().flat_map(of).collect()
}

fn has_the_block_of_parameters_of_its_kernel(shader: &Shader, module: &Module) {
    let found = module.types.iter().find(|(_, one)| one.name.as_deref() == Some("Params"));
    let Some((_, Type { inner: TypeInner::Struct { members, .. }, .. })) = found else {
        panic!("{shader}: no struct `Params`")
    };
    let words = words(shader.kernel.params);
    assert!(members.len() <= words.len(), "{shader}: {} parameters of {}", words.len(), members.len());
    for (at, (member, (name, scalar))) in members.iter().zip(words).enumerate() {
        assert_eq!(member.offset as usize, 4 * at, "{shader}: a parameter is a word");
        let member_name = member.name.as_deref();
        assert!(name.is_none() || name == member_name, "{shader}: {name:?} is {member_name:?} in the shader");
        let is_scalar = |scalar: Scalar| module.types[member.ty].inner == TypeInner::Scalar(scalar);
        assert!(scalar.is_none_or(is_scalar), "{shader}: the type of {member_name:?}");
    }
}
