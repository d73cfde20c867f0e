//! The adapters of this machine, and the choice of one.

use super::guard::{Failure, guarded};
use crate::error::{Error, Result};
use crate::paths::variable;

/// The kind of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A separate graphics card.
    Discrete,
    /// Part of the processor.
    Integrated,
    /// Passed through to a virtual machine, or unknown.
    Other,
    /// A software rasteriser such as lavapipe or WARP.
    Software,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Discrete => "discrete GPU",
            Self::Integrated => "integrated GPU",
            Self::Other => "other",
            Self::Software => "software",
        })
    }
}

/// The properties of an adapter, with the limits that matter here.
#[derive(Clone, Debug)]
pub struct Described {
    /// The index in the list of adapters.
    pub index: usize,
    /// The name given by the driver.
    pub name: String,
    /// `vulkan`, `metal`, `dx12` ...
    pub backend: String,
    /// The kind of adapter.
    pub kind: Kind,
    /// The driver and its version.
    pub driver: String,
    /// The size of the largest storage buffer binding, in bytes.
    pub max_binding_bytes: u64,
    /// The size of the largest buffer, in bytes.
    pub max_buffer_bytes: u64,
    /// The side of the largest texture, in texels.
    pub max_texture_side: u32,
    /// The size of workgroup memory, in bytes.
    pub workgroup_bytes: u32,
    /// The sizes of the smallest and the largest subgroup, if subgroups are supported.
    pub subgroup: Option<(u32, u32)>,
    /// `true` if shaders may use 16-bit floats.
    pub f16: bool,
    /// The side, 16 or 8, of the float16 tiles that the adapter's matrix units multiply and sum in float32, if it has
    /// such units.
    pub matrix: Option<u32>,
}

/// A choice of adapter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The best one: discrete before integrated before software.
    #[default]
    Best,
    /// The one at this index in the list of adapters.
    Index(usize),
    /// A software adapter.
    Cpu,
    /// The first one whose name contains this text, in any case.
    Name(String),
    /// Of the best kind the one with this number, modulo how many there are: processes on one machine that have numbers
    /// spread over its adapters.
    Spread(usize),
}

impl Choice {
    /// Reads a choice from text: an index, `cpu`, or part of a name.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.parse() {
            Ok(index) => Self::Index(index),
            Err(_) if text.eq_ignore_ascii_case("cpu") => Self::Cpu,
            Err(_) => Self::Name(text.to_owned()),
        }
    }
}

const NO_ADAPTER_HINT: &str = "install a Vulkan driver, or the software adapter: \
     `apt-get install mesa-vulkan-drivers libvulkan1` on Debian and Ubuntu \
     (`sh scripts/with-adapter.sh COMMAND` does it)";

/// All adapters of this machine, best first.
pub struct Adapters {
    pub(super) list: Vec<wgpu::Adapter>,
    /// The failure of a driver while adapters were listed.
    failure: Option<Failure>,
}

impl Adapters {
    /// Finds adapters on Vulkan, Metal and DX12, or on the backends that `WGPU_BACKEND` names. A surface is never
    /// requested.
    #[must_use]
    pub fn find() -> Self {
        let native = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
        let backends = backend_variable().map_or(native, |names| wgpu::Backends::from_comma_list(&names));
        let found = guarded(|| pollster::block_on(instance(backends).enumerate_adapters(backends)));
        let (list, failure) = found.map_or_else(|failure| (Vec::new(), Some(failure)), |list| (list, None));
        Self::ranked(list, failure)
    }

    /// Finds the adapter of the browser; outside of one, as [`Adapters::find`].
    pub async fn find_in_browser() -> Self {
        if cfg!(not(target_family = "wasm")) {
            return Self::find();
        }
        let backends = wgpu::Backends::BROWSER_WEBGPU;
        Self::ranked(instance(backends).enumerate_adapters(backends).await, None)
    }

    /// The adapters, best first.
    fn ranked(mut list: Vec<wgpu::Adapter>, failure: Option<Failure>) -> Self {
        list.sort_by_key(|adapter| match kind(adapter.get_info().device_type) {
            Kind::Discrete => 0,
            Kind::Integrated => 1,
            Kind::Other => 2,
            Kind::Software => 3,
        });
        Self { list, failure }
    }

    /// Returns the properties of all adapters.
    #[must_use]
    pub fn describe(&self) -> Vec<Described> {
        self.list.iter().enumerate().map(|(index, adapter)| describe(index, adapter)).collect()
    }

    /// Returns the properties of the adapter that `choice` selects, without opening it.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if there is none, or none that matches.
    pub fn find_described(&self, choice: &Choice) -> Result<Described> {
        self.choose(choice).map(|(index, adapter)| describe(index, adapter))
    }

    /// Returns the adapter that `choice` selects.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] if there is none, or none that matches.
    pub(super) fn choose(&self, choice: &Choice) -> Result<(usize, &wgpu::Adapter)> {
        let spread = match choice {
            Choice::Spread(number) => {
                let kinds = self.list.iter().map(wgpu::Adapter::get_info);
                spread(&kinds.map(|info| (kind(info.device_type), info.backend)).collect::<Vec<_>>(), *number)
            }
            _ => None,
        };
        let found = self.list.iter().enumerate().find(|(index, adapter)| match choice {
            Choice::Best => true,
            Choice::Spread(_) => spread == Some(*index),
            Choice::Index(wanted) => index == wanted,
            Choice::Cpu => adapter.get_info().device_type == wgpu::DeviceType::Cpu,
            Choice::Name(part) => adapter.get_info().name.to_lowercase().contains(&part.to_lowercase()),
        });
        found.ok_or_else(|| {
            if let Some(failure) = &self.failure {
                let what = format!("no usable adapter: a driver failed while it was asked: {}", failure.what);
                return Error::NoAdapter { what, hint: NO_ADAPTER_HINT.into() };
            }
            if self.list.is_empty() {
                return none_at_all();
            }
            let wanted = match choice {
                Choice::Best | Choice::Spread(_) => String::new(),
                Choice::Index(index) => format!(" with index {index}"),
                Choice::Cpu => " in software".into(),
                Choice::Name(part) => format!(" whose name holds `{part}`"),
            };
            let names: Vec<_> = self.list.iter().map(|adapter| format!("`{}`", adapter.get_info().name)).collect();
            let hint = match choice {
                Choice::Cpu => NO_ADAPTER_HINT.to_owned(),
                _ => format!("there is {}; see `downhill devices`", names.join(", ")),
            };
            Error::NoAdapter { what: format!("no adapter{wanted}"), hint }
        })
    }
}

/// Returns wgpu on some backends.
fn instance(backends: wgpu::Backends) -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        flags: wgpu::InstanceFlags::empty().with_env(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    })
}

/// Returns the place of the adapter of a process with a number, among adapters listed by kind, best first, and backend.
/// Another backend lists the same adapters again.
fn spread<B: PartialEq>(list: &[(Kind, B)], number: usize) -> Option<usize> {
    let alike: Vec<usize> = (0..list.len()).filter(|at| list[*at] == list[0]).collect();
    alike.get(number % alike.len().max(1)).copied()
}

/// Returns `WGPU_BACKEND`, if it is set and not empty.
fn backend_variable() -> Option<String> {
    variable("WGPU_BACKEND")?.into_string().ok().filter(|names| !names.trim().is_empty())
}

/// The error when no adapter is found: no driver is installed, or the environment requests a backend that has none.
fn none_at_all() -> Error {
    if cfg!(target_family = "wasm") {
        let hint = "use a browser with WebGPU, and allow it to use the graphics card".into();
        return Error::NoAdapter { what: "this browser has no WebGPU adapter".into(), hint };
    }
    match backend_variable() {
        None => Error::NoAdapter { what: "no usable adapter".into(), hint: NO_ADAPTER_HINT.into() },
        Some(names) => Error::NoAdapter {
            what: format!("no usable adapter with `WGPU_BACKEND={names}`"),
            hint: format!("unset `WGPU_BACKEND` (it takes vulkan, metal, dx12), or {NO_ADAPTER_HINT}"),
        },
    }
}

fn kind(device_type: wgpu::DeviceType) -> Kind {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => Kind::Discrete,
        wgpu::DeviceType::IntegratedGpu => Kind::Integrated,
        wgpu::DeviceType::Cpu => Kind::Software,
        wgpu::DeviceType::VirtualGpu | wgpu::DeviceType::Other => Kind::Other,
    }
}

/// The features that shaders with float16 tiles for matrix units need.
pub(super) const MATRIX_FEATURES: wgpu::Features =
    wgpu::Features::SHADER_F16.union(wgpu::Features::SUBGROUP).union(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX);

/// Returns the side of the largest square float16 tiles that are summed in float32.
fn matrix_side(adapter: &wgpu::Adapter) -> Option<u32> {
    let offered = guarded(|| adapter.cooperative_matrix_properties()).unwrap_or_default();
    let fits = |side: &u32| {
        offered.iter().any(|tile| {
            [tile.m_size, tile.n_size, tile.k_size] == [*side; 3]
                && tile.ab_type == wgpu::CooperativeScalarType::F16
                && tile.cr_type == wgpu::CooperativeScalarType::F32
        })
    };
    [16, 8].into_iter().find(fits)
}

pub(super) fn describe(index: usize, adapter: &wgpu::Adapter) -> Described {
    let (info, limits, features) = (adapter.get_info(), adapter.limits(), adapter.features());
    Described {
        index,
        name: info.name,
        backend: info.backend.to_string(),
        kind: kind(info.device_type),
        driver: [info.driver, info.driver_info].join(" ").trim().to_owned(),
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
        max_texture_side: limits.max_texture_dimension_2d,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        subgroup: features
            .contains(wgpu::Features::SUBGROUP)
            .then_some((info.subgroup_min_size, info.subgroup_max_size)),
        f16: features.contains(wgpu::Features::SHADER_F16),
        matrix: features.contains(MATRIX_FEATURES).then(|| matrix_side(adapter)).flatten(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_spread_over_the_adapters_of_the_best_kind() {
        let four = [Kind::Discrete; 4].map(|kind| (kind, "vulkan"));
        assert_eq!((0..6).map(|number| spread(&four, number)).collect::<Vec<_>>(), [0, 1, 2, 3, 0, 1].map(Some));
        // One of two kinds, and a card that a second backend lists again.
        let mixed = [
            (Kind::Discrete, "vulkan"),
            (Kind::Discrete, "dx12"),
            (Kind::Discrete, "vulkan"),
            (Kind::Integrated, "vulkan"),
            (Kind::Software, "vulkan"),
        ];
        assert_eq!((0..3).map(|number| spread(&mixed, number)).collect::<Vec<_>>(), [0, 2, 0].map(Some));
        let one = [(Kind::Integrated, "metal"), (Kind::Software, "vulkan")];
        assert_eq!((0..3).map(|number| spread(&one, number)).collect::<Vec<_>>(), [Some(0); 3]);
        assert_eq!(spread::<&str>(&[], 1), None);
    }
}
