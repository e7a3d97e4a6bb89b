//! `build` of one Dockerfile: for one platform an image, for several an index of theirs.

use std::collections::BTreeMap;
use std::sync::Mutex;

use builder::{
    Base, BaseNote, BaseRequest, Bases, BuildError, BuildEvent, BuildOptions, BuildRequest, Built,
    Engine as _, MadeSteps, NamedContext,
};
use oci::{Document, Platform, Reference, Tag};
use pipeline::build;
use pipeline::configuration::Name;
use pipeline::ledger::Status;
use pipeline::place::{Located, Place, PlaceError, Places};
use pipeline::platforms::{self, Child};
use pipeline::progress::Progress;
use store::{ImageStore as _, image_for_platform};

use super::annotations::Annotated;
use super::context::GivenContext;
use super::output::Made;
use super::{Arguments, Image, caches, check, pairs, publish};
use crate::command::reproducible;
use crate::error::{Code, Error};
use crate::session::Session;
use crate::workbench::Workbench;

impl Arguments {
    /// Builds one Dockerfile.
    pub(super) fn one(&self, session: &Session) -> Result<(), Error> {
        session.refuse_locked()?;
        session.refuse_dry_run("build of one Dockerfile")?;
        let context = match &self.what[..] {
            [] => ".",
            [context] => context,
            _ => return Err(Error::usage("with -f or -t there is one context")),
        };
        let platforms = self.platforms();
        let annotations = Annotated::read(&self.annotation, &platforms)?;
        self.results.refuse_impossible(&platforms)?;
        let workbench = self.steps.open(session, None)?;
        let mut options = self.build_options(session, None)?;
        let context = GivenContext::open(session, context, self.file.as_deref(), &options)?;
        options.transient_context = context.is_transient();
        let fetched = self.fetch_contexts(session, &mut options)?;
        let mut request = self.request(session, &context, &annotations, options)?;
        if self.check || self.elsewhere.checks() {
            return check::run(session, workbench.engine(), &request);
        }
        let names = self.results.names(&self.tag)?;
        let pushes = self.publish.is_asked_for() || self.results.pushes();
        if pushes {
            publish::check(&names)?;
        }
        if pushes && self.reproducible.is_none() && !self.results.are_written() {
            request.options.settle = publish::settle(&workbench, &names)?;
        }
        self.steps.check_mounts(session, self.caches.are_given());
        request.options.tiers = self.caches.tiers(session, workbench.places())?;
        let built = self.build_each(&workbench, &request, &platforms, &annotations);
        self.steps.tell_timings(session, &workbench)?;
        let children =
            built.map_err(|error| Error::Reported(session.ui.failure("the build failed", &error)))?;
        let image = platforms::assemble(&children, &annotations.index(&platforms));
        let is_named = names != [unnamed()];
        let made = Made { image, children, names, is_named };
        if !pushes || publish::push(session, &workbench, &made, self.publish.foreign.choice())? {
            store(&workbench, &made)?;
        }
        self.results.write(session, &workbench, &made)?;
        if self.reproducible.is_some() {
            self.compare(session, &workbench, &request, &made, &annotations)?;
        }
        self.write_caches(session, &workbench, &request, &made, pushes)?;
        drop(fetched);
        self.answer(session, made.answer())
    }

    /// Fetches the named contexts that are elsewhere; they are there until the result is dropped.
    fn fetch_contexts(
        &self,
        session: &Session,
        options: &mut BuildOptions,
    ) -> Result<Vec<GivenContext>, Error> {
        let mut fetched = Vec::new();
        for (name, address) in self.options.contexts_elsewhere() {
            let context = GivenContext::fetch(session, address, options)?;
            let folder = NamedContext::Folder(context.folder.clone());
            options.contexts.insert(name.to_owned(), folder);
            fetched.push(context);
        }
        Ok(fetched)
    }

    fn write_caches(
        &self,
        session: &Session,
        workbench: &Workbench,
        request: &BuildRequest,
        made: &Made,
        pushes: bool,
    ) -> Result<(), Error> {
        let scope = caches::scope(&self.tag, &request.dockerfile, self.target.as_deref());
        let pushed: Vec<oci::Repository> = match pushes {
            true => made.names.iter().map(|name| name.repository().clone()).collect(),
            false => Vec::new(),
        };
        let uses = self.caches.uses(&scope, made, &pushed);
        caches::write(session, workbench.engine(), workbench.places(), uses)
    }

    /// Returns the platforms to build for, each once.
    fn platforms(&self) -> Vec<Platform> {
        let mut platforms: Vec<Platform> = Vec::new();
        for platform in &self.platform {
            if !platforms.contains(platform) {
                platforms.push(platform.clone());
            }
        }
        if platforms.is_empty() { vec![Platform::host()] } else { platforms }
    }

    fn build_each(
        &self,
        workbench: &Workbench,
        request: &BuildRequest,
        platforms: &[Platform],
        annotations: &Annotated,
    ) -> Result<Vec<Child>, BuildError> {
        let bases = NamedPlaces { places: workbench.places(), anew: self.pull };
        platforms::build_each(platforms, |platform| {
            let request = BuildRequest {
                platform: platform.clone(),
                annotations: annotations.manifest(platform),
                ..request.clone()
            };
            let progress = Single::new(workbench, platform);
            workbench.engine().build(&request, &bases, &|event| progress.take(event))
        })
    }

    /// Builds once more with every step run again.
    fn compare(
        &self,
        session: &Session,
        workbench: &Workbench,
        request: &BuildRequest,
        first: &Made,
        annotations: &Annotated,
    ) -> Result<(), Error> {
        session.ui.note("building once more to compare");
        let options = BuildOptions { made: MadeSteps::default(), ..request.options.clone() };
        let again = BuildRequest { no_cache: true, explain: false, options, ..request.clone() };
        let platforms: Vec<Platform> = first.children.iter().map(|(platform, _)| platform.clone()).collect();
        let second = self.build_each(workbench, &again, &platforms, annotations);
        let second =
            second.map_err(|error| Error::Reported(session.ui.failure("the second build failed", &error)))?;
        let repository = workbench.places().local().repository(first.names[0].repository());
        for ((platform, one), (_, other)) in first.children.iter().zip(&second) {
            if let Some(difference) = reproducible::difference(workbench.engine(), &repository, one, other)? {
                let of = if platforms.len() > 1 { format!(" for {platform}") } else { String::new() };
                session.ui.problem(&format!(
                    "the second build gives another image{of}; the first difference is {difference}"
                ));
                return Err(Error::Reported(Code::Failed));
            }
        }
        Ok(())
    }

    fn request(
        &self,
        session: &Session,
        context: &GivenContext,
        annotations: &Annotated,
        options: BuildOptions,
    ) -> Result<BuildRequest, Error> {
        let epoch = session.source_date_epoch()?;
        // Without a commit there is no moment but the one asked for; any other would move the digest.
        let created = jiff::Timestamp::from_second(epoch.unwrap_or(0))
            .map_err(|_| Error::usage("SOURCE_DATE_EPOCH lies outside of the calendar"))?;
        let platform = self.platform.first().cloned().unwrap_or_else(Platform::host);
        Ok(BuildRequest {
            dockerfile: context.dockerfile.clone(),
            dockerfile_name: context.dockerfile_name.clone(),
            context: context.folder.clone(),
            target: self.target.clone(),
            build_args: self.build_args(session)?,
            annotations: annotations.manifest(&platform),
            platform,
            labels: pairs(&self.label, "--label")?,
            base_note: BaseNote::Nowhere,
            created: created.to_string(),
            source_date_epoch: epoch,
            step_timeout: self.steps.timeout(),
            no_cache: self.steps.no_cache,
            explain: self.steps.explain,
            options,
        })
    }
}

impl Made {
    /// Returns what is answered, by the name of the image.
    fn answer(&self) -> BTreeMap<String, Image> {
        let count = |of: fn(&Built) -> u32| self.children.iter().map(|(_, built)| of(built)).sum();
        let (steps, cached) = (count(|built| built.steps.total), count(|built| built.steps.cached));
        let image = Image {
            image: self.is_named.then(|| self.names[0].to_string()),
            digest: Some(self.image.digest()),
            status: if steps == cached { Status::Cached } else { Status::Built },
            steps,
            cached,
        };
        let name =
            if self.is_named { self.names[0].repository().path().to_owned() } else { "image".to_owned() };
        BTreeMap::from([(name, image)])
    }
}

/// Keeps the image in the local store under each of its names.
fn store(workbench: &Workbench, made: &Made) -> Result<(), Error> {
    for name in &made.names {
        let repository = workbench.places().local().repository(name.repository());
        put_all(&repository, &made.children)?;
        repository.tag(&name.tag_or_latest().unwrap_or_else(Tag::latest), &made.image)?;
    }
    Ok(())
}

fn put_all(repository: &store::LayoutRepository, children: &[Child]) -> Result<(), Error> {
    let put = |(_, built): &Child| Ok(repository.put_document(&built.manifest)?);
    children.iter().try_for_each(put)
}

/// The name of an image that was given none.
pub(super) fn unnamed() -> Reference {
    "local/build".parse().expect("a literal reference of the grammar")
}

/// Base images by their names alone.
struct NamedPlaces<'a> {
    places: &'a Places,
    /// Whether a registry is asked even where the local store has the image.
    anew: bool,
}

impl NamedPlaces<'_> {
    fn locate(&self, place: &Place) -> Result<Located, PlaceError> {
        match self.anew {
            true => self.places.find_anew(place),
            false => self.places.find(place),
        }
    }
}

impl Bases for NamedPlaces<'_> {
    fn find(&self, request: &BaseRequest<'_>) -> Result<Base, Box<dyn std::error::Error + Send + Sync>> {
        let located = self.locate(&request.name.parse()?)?;
        let document: &Document = &located.document;
        let manifest = image_for_platform(located.store.as_ref(), document.descriptor(), request.platform)?;
        let repository = located.remote().cloned();
        Ok(Base { manifest, store: located.store, repository, reference: None })
    }
}

/// Progress of a build that is no service's.
struct Single<'a> {
    watch: Mutex<build::Watch<'a>>,
}

impl<'a> Single<'a> {
    fn new(workbench: &'a Workbench, platform: &Platform) -> Self {
        let name: Name = "image".parse().expect("a literal name");
        let tell = |progress: Progress| workbench.tell(progress);
        Self { watch: Mutex::new(build::Watch::new(name, platform, Box::new(tell))) }
    }

    fn take(&self, event: BuildEvent) {
        self.watch.lock().expect("no holder panics").take(event);
    }
}
