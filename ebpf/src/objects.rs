//! The compiled objects and the maps that the loader holds.

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray, ProgramArray, RingBuf};
use aya::{Btf, Ebpf, EbpfLoader};

use crate::bpffs::{PinDir, SHARED};
use crate::config::SensorConfig;
use crate::sensor::SensorError;

/// A feature group. One that cannot be parsed or loaded leaves the others alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Syscalls,
    Process,
    Access,
    Privilege,
    Mapping,
    Kernel,
    File,
    Network,
    Datagram,
    Endpoint,
    Functions,
    Iterators,
}

impl Object {
    pub(crate) const ALL: [Self; 12] = [
        Self::Syscalls,
        Self::Process,
        Self::Access,
        Self::Privilege,
        Self::Mapping,
        Self::Kernel,
        Self::File,
        Self::Network,
        Self::Datagram,
        Self::Endpoint,
        Self::Functions,
        Self::Iterators,
    ];

    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Syscalls => aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/syscalls.o")),
            Self::Process => aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/process.o")),
            Self::Access => aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/access.o")),
            Self::Privilege => aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/privilege.o")),
            Self::Mapping => aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mapping.o")),
            Self::Kernel => aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kernel.o")),
            Self::File => aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/file.o")),
            Self::Network => aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/network.o")),
            Self::Datagram => aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/datagram.o")),
            Self::Endpoint => aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/endpoint.o")),
            Self::Functions => aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/functions.o")),
            Self::Iterators => aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/iterators.o")),
        }
    }
}

/// The objects that could be created, each with the reason where it could not.
pub(crate) struct Objects {
    loaded: Vec<(Object, Result<Ebpf, String>)>,
}

impl Objects {
    /// Creates maps and parses programs; no program is loaded yet.
    pub(crate) fn create(btf: &Btf, config: &SensorConfig, pins: &PinDir) -> Self {
        let loaded = Object::ALL
            .map(|object| {
                let mut loader = EbpfLoader::new();
                loader.btf(Some(btf)).map_max_entries("picket_ring", config.ring_bytes);
                let paths = SHARED.map(|map| (map, pins.of(map)));
                for (map, path) in &paths {
                    loader.map_pin_path(map, path.as_path());
                }
                (object, loader.load(object.bytes()).map_err(|error| crate::attach::reason(&error)))
            })
            .into_iter()
            .collect();
        Self { loaded }
    }

    /// The object, or why it is not there.
    pub(crate) fn object(&mut self, wanted: Object) -> Result<&mut Ebpf, String> {
        match self.loaded.iter_mut().find(|(object, _)| *object == wanted) {
            Some((_, Ok(ebpf))) => Ok(ebpf),
            Some((_, Err(reason))) => Err(reason.clone()),
            None => Err("not part of this build".into()),
        }
    }

    /// Unloads everything: programs detach, maps that nobody else holds go.
    pub(crate) fn unload(&mut self) {
        self.loaded.clear();
    }

    /// True where not a single object is there.
    pub(crate) fn all_failed(&self) -> Option<String> {
        if self.loaded.iter().any(|(_, result)| result.is_ok()) {
            return None;
        }
        self.loaded.iter().find_map(|(_, result)| result.as_ref().err().cloned())
    }

    fn take(&mut self, map: &'static str) -> Option<Map> {
        self.loaded.iter_mut().filter_map(|(_, result)| result.as_mut().ok()).find_map(|ebpf| ebpf.take_map(map))
    }

    /// Every map of every object that nobody has taken, with its name.
    pub(crate) fn maps_of_all(&self) -> impl Iterator<Item = (&str, &Map)> {
        self.loaded.iter().filter_map(|(_, result)| result.as_ref().ok()).flat_map(Ebpf::maps)
    }

    /// Takes the loader's ends of the maps. After all programs are loaded: a program keeps its maps alive by itself.
    pub(crate) fn maps(&mut self) -> Result<Maps, SensorError> {
        Ok(Maps {
            ring: typed(self.take("picket_ring"), "picket_ring")?,
            counters: typed(self.take("picket_counters"), "picket_counters")?,
            consumed: typed(self.take("picket_consumed"), "picket_consumed")?,
            own: typed(self.take("picket_own"), "picket_own")?,
            watch: WatchMaps::take(self).ok(),
            environment: typed(self.take("picket_environment"), "picket_environment").ok(),
            traffic: typed(self.take("picket_traffic"), "picket_traffic").ok(),
            socket_names: typed(self.take("picket_socket_names"), "picket_socket_names").ok(),
            network: typed(self.take("picket_network"), "picket_network").ok(),
        })
    }

    /// The dispatch table.
    pub(crate) fn dispatch(&mut self) -> Option<ProgramArray<MapData>> {
        ProgramArray::try_from(self.take("picket_on_exit")?).ok()
    }
}

/// Maps of every object.
pub(crate) struct Maps {
    pub(crate) ring: RingBuf<MapData>,
    pub(crate) counters: PerCpuArray<MapData, u64>,
    pub(crate) consumed: Array<MapData, [u64; 3]>,
    pub(crate) own: HashMap<MapData, u32, u32>,
    /// Where the file object is there.
    pub(crate) watch: Option<WatchMaps>,
    pub(crate) environment: Option<HashMap<MapData, [u64; 3], u32>>,
    /// `struct traffic`.
    pub(crate) traffic: Option<Array<MapData, [u64; 6]>>,
    pub(crate) socket_names: Option<HashMap<MapData, [u64; 4], u32>>,
    /// `struct network_config`.
    pub(crate) network: Option<Array<MapData, [u64; 2]>>,
}

/// Maps of the file object.
pub(crate) struct WatchMaps {
    /// `struct watch_config`.
    config: Array<MapData, [u64; 12]>,
    /// What was written there last: what stands there may be somebody else's.
    written: [u64; 12],
    /// `struct watch_state`.
    pub(crate) state: Array<MapData, [u32; 4]>,
    pub(crate) roots: HashMap<MapData, u64, u32>,
    pub(crate) supers: HashMap<MapData, u64, u64>,
    pub(crate) links: HashMap<MapData, [u64; 2], u32>,
    pub(crate) extensions: HashMap<MapData, [u64; 2], u32>,
}

impl WatchMaps {
    /// `struct watch_config` as the loader wrote it last.
    pub(crate) fn config(&self) -> [u64; 12] {
        self.written
    }

    /// Writes it.
    pub(crate) fn set_config(&mut self, config: [u64; 12]) -> Result<(), MapError> {
        self.written = config;
        self.config.set(0, config, 0)
    }

    /// What stands there now.
    pub(crate) fn config_now(&self) -> Result<[u64; 12], MapError> {
        self.config.get(&0, 0)
    }

    fn take(objects: &mut Objects) -> Result<Self, SensorError> {
        Ok(Self {
            config: typed(objects.take("picket_config"), "picket_config")?,
            written: [0; 12],
            state: typed(objects.take("picket_state"), "picket_state")?,
            roots: typed(objects.take("picket_roots"), "picket_roots")?,
            supers: typed(objects.take("picket_supers"), "picket_supers")?,
            links: typed(objects.take("picket_links"), "picket_links")?,
            extensions: typed(objects.take("picket_extensions"), "picket_extensions")?,
        })
    }
}

fn typed<T: TryFrom<Map, Error: std::fmt::Display>>(map: Option<Map>, what: &'static str) -> Result<T, SensorError> {
    let map = map.ok_or(SensorError::Map { what, reason: "no object has it".into() })?;
    T::try_from(map).map_err(|error| SensorError::Map { what, reason: error.to_string() })
}
