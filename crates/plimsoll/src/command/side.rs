//! `--local` and `--remote`: where a name of a registry is looked up.

use pipeline::place::{Located, Place, PlaceError, Places, Side};
use store::Company;

use crate::session::Session;

/// Where a name of a registry is looked up.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct NameSide {
    /// Takes what the local store has under the name of a registry, and asks no registry for it
    #[arg(long, conflicts_with = "remote")]
    local: bool,
    /// Asks the registry, whatever the local store has [default: only where the local store does not have it]
    #[arg(long)]
    remote: bool,
}

impl NameSide {
    /// Finds the image at `place`. In company what refers to it is found in its registry as well, unless that is not
    /// to be asked. That the local store has a name of a registry is told: the registry may have moved on.
    ///
    /// # Errors
    /// What the places say.
    pub fn find(
        self,
        session: &Session,
        places: &Places,
        place: &Place,
        company: Company,
    ) -> Result<Located, PlaceError> {
        let side = match (self.local, self.remote) {
            (true, _) => Side::Local,
            (_, true) => Side::Registry,
            _ => Side::Nearest,
        };
        let found = places.find_at(place, side)?;
        if side != Side::Nearest || session.global.offline || !is_of_registry(&found) {
            return Ok(found);
        }
        if may_have_moved(place) {
            session.ui.note(format_args!("{} is in the local store; --remote asks its registry", found.name));
        }
        match company {
            Company::Alone => Ok(found),
            Company::Referrers => places.with_referrers(found),
        }
    }
}

/// Whether an image lies here under the name of a registry.
fn is_of_registry(found: &Located) -> bool {
    let elsewhere = found.name.repository().is_some_and(|name| !name.registry().is_local());
    found.local.is_some() && elsewhere
}

/// Whether the registry may have something else under the name by now.
fn may_have_moved(place: &Place) -> bool {
    matches!(place, Place::Name(name) if name.digest().is_none())
}
