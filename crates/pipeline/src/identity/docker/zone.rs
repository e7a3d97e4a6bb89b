//! Time zones by name, from tables in the program: the same name gives the same on every machine.

use std::cell::RefCell;
use std::collections::HashMap;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::moment::Moment;

/// How many names are kept: they come from templates.
const MAX_KNOWN: usize = 1024;

/// The zones that were asked for.
#[derive(Debug)]
pub(super) struct Zones {
    database: TimeZoneDatabase,
    known: RefCell<HashMap<String, Option<TimeZone>>>,
}

impl Default for Zones {
    fn default() -> Self {
        Self { database: TimeZoneDatabase::bundled(), known: RefCell::default() }
    }
}

impl Zones {
    /// Returns `time` as it is in the zone `name`; in UTC, and without a name, where there is none.
    pub(super) fn moment(&self, time: Timestamp, name: &str) -> Moment {
        match self.zone(name) {
            Some(zone) => {
                let short = zone.to_offset_info(time).abbreviation().to_owned();
                Moment { time: time.to_zoned(zone), zone: short }
            }
            None => Moment { time: time.to_zoned(TimeZone::UTC), zone: String::new() },
        }
    }

    fn zone(&self, name: &str) -> Option<TimeZone> {
        if name == "UTC" {
            return Some(TimeZone::UTC);
        }
        if let Some(zone) = self.known.borrow().get(name) {
            return zone.clone();
        }
        let zone = self.database.get(name).ok().or_else(|| self.by_loose_name(name));
        let mut known = self.known.borrow_mut();
        if known.len() == MAX_KNOWN {
            known.clear();
        }
        known.insert(name.to_owned(), zone.clone());
        zone
    }

    /// Finds a zone whose name is written with `_` for `/`, which the neighbour takes.
    fn by_loose_name(&self, name: &str) -> Option<TimeZone> {
        let loose = |name: &str| name.to_lowercase().replace('/', "_");
        let wanted = loose(name);
        let found = self.database.available().find(|known| loose(known.as_str()) == wanted)?;
        self.database.get(found.as_str()).ok()
    }
}
