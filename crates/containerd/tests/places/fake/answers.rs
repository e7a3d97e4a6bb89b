//! Questions with one answer.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use containerd::protocol::*;
use hyper::body::Incoming;
use tokio::sync::Notify;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::{Kept, Lease, Lie, State};

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) breaking: Arc<Notify>,
}

/// A function as a service.
pub(crate) struct Answering<F>(pub(crate) F);

impl<F, Q, A> Service<Request<Q>> for Answering<F>
where
    F: FnMut(Request<Q>) -> Result<A, Status>,
{
    type Response = Response<A>;
    type Error = Status;
    type Future = Ready<Result<Response<A>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        ready((self.0)(request).map(Response::new))
    }
}

pub(crate) fn namespace_of<T>(request: &Request<T>) -> String {
    let name = request.metadata().get("containerd-namespace").and_then(|name| name.to_str().ok());
    name.unwrap_or_default().to_owned()
}

pub(crate) fn lease_of<T>(request: &Request<T>) -> Option<String> {
    request.metadata().get("containerd-lease").and_then(|name| name.to_str().ok()).map(str::to_owned)
}

impl Server {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn answer(&self, request: hyper::Request<Incoming>) -> hyper::Response<Body> {
        let path = request.uri().path().to_owned();
        if self.state().lie == Lie::Denies && path != method::VERSION {
            return Status::permission_denied("not you").into_http();
        }
        match path.as_str() {
            method::VERSION => {
                self.one(request, |_, _, _: Empty| {
                    Ok(VersionResponse { version: "v0-fake".to_owned(), revision: String::new() })
                })
                .await
            }
            method::LIST_NAMESPACES => self.one(request, namespaces).await,
            method::INFO => self.one(request, info).await,
            method::UPDATE_CONTENT => self.one(request, update).await,
            method::ABORT => {
                self.one(request, |state, space, question: AbortRequest| {
                    state
                        .ingests
                        .remove(&(space, question.reference))
                        .map(|_| Empty {})
                        .ok_or_else(|| Status::not_found("no such ingest"))
                })
                .await
            }
            method::GET_IMAGE => self.one(request, get_image).await,
            method::LIST_IMAGES => self.one(request, list_images).await,
            method::CREATE_IMAGE => self.one(request, create_image).await,
            method::UPDATE_IMAGE => self.one(request, update_image).await,
            method::DELETE_IMAGE => {
                self.one(request, |state, space, question: DeleteImageRequest| {
                    state
                        .images
                        .remove(&(space, question.name))
                        .map(|_| Empty {})
                        .ok_or_else(|| Status::not_found("no such image"))
                })
                .await
            }
            method::CREATE_LEASE => {
                self.one(request, |state, _, question: CreateLeaseRequest| {
                    state.leases.insert(question.id, Lease { labels: question.labels, ..Lease::default() });
                    Ok(Empty {})
                })
                .await
            }
            method::DELETE_LEASE => {
                self.one(request, |state, _, question: DeleteLeaseRequest| {
                    let lease = state
                        .leases
                        .remove(&question.id)
                        .ok_or_else(|| Status::not_found("no such lease"))?;
                    state.ended.push(lease);
                    Ok(Empty {})
                })
                .await
            }
            method::ADD_RESOURCE => self.one(request, hold).await,
            method::READ => self.read(request).await,
            method::WRITE => self.write(request).await,
            _ => Status::unimplemented(path).into_http(),
        }
    }

    async fn one<Q, A>(
        &self,
        request: hyper::Request<Incoming>,
        answer: impl Fn(&mut State, String, Q) -> Result<A, Status>,
    ) -> hyper::Response<Body>
    where
        Q: prost::Message + Default + 'static,
        A: prost::Message + Default + 'static,
    {
        let codec: ProstCodec<A, Q> = ProstCodec::default();
        let service = Answering(|question: Request<Q>| {
            let space = namespace_of(&question);
            answer(&mut self.state(), space, question.into_inner())
        });
        Grpc::new(codec).unary(service, request).await
    }
}

fn namespaces(
    state: &mut State,
    _: String,
    _: ListNamespacesRequest,
) -> Result<ListNamespacesResponse, Status> {
    let names = state.blobs.keys().chain(state.images.keys()).map(|(space, _)| space.clone());
    let names: std::collections::BTreeSet<String> = names.collect();
    Ok(ListNamespacesResponse {
        namespaces: names.into_iter().map(|name| NamespaceRecord { name }).collect(),
    })
}

fn info(state: &mut State, space: String, question: InfoRequest) -> Result<InfoResponse, Status> {
    let kept = state.blobs.get(&(space, question.digest.clone()));
    let Kept { bytes, labels } = kept.cloned().ok_or_else(|| Status::not_found("no such content"))?;
    let size = match state.lie {
        Lie::Size(size) => size,
        _ => bytes.len() as i64,
    };
    Ok(InfoResponse { info: Some(Info { digest: question.digest, size, labels }) })
}

fn update(state: &mut State, space: String, question: UpdateRequest) -> Result<InfoResponse, Status> {
    let new = question.info.unwrap_or_default();
    let kept = state.blobs.get_mut(&(space, new.digest.clone()));
    let kept = kept.ok_or_else(|| Status::not_found("no such content"))?;
    for path in question.update_mask.unwrap_or_default().paths {
        let key = path.strip_prefix("labels.").ok_or_else(|| Status::invalid_argument(path.clone()))?;
        let value = new.labels.get(key).cloned().unwrap_or_default();
        // A label without a value is removed.
        match value.is_empty() {
            true => drop(kept.labels.remove(key)),
            false => drop(kept.labels.insert(key.to_owned(), value)),
        }
    }
    Ok(InfoResponse { info: None })
}

fn get_image(state: &mut State, space: String, question: GetImageRequest) -> Result<OneImage, Status> {
    let target = state.images.get(&(space, question.name.clone())).filter(|_| state.lie != Lie::ForgetsNames);
    let mut target = target.cloned().ok_or_else(|| Status::not_found("no such image"))?;
    if state.lie == Lie::OtherTarget {
        target.digest = oci::Digest::of(b"something else").to_string();
    }
    Ok(OneImage {
        image: Some(ImageRecord { name: question.name, labels: HashMap::new(), target: Some(target) }),
    })
}

fn list_images(state: &mut State, space: String, _: ListImagesRequest) -> Result<ListImagesResponse, Status> {
    let images = state.images.iter().filter(|((of, _), _)| *of == space).map(|((_, name), target)| {
        ImageRecord { name: name.clone(), labels: HashMap::new(), target: Some(target.clone()) }
    });
    Ok(ListImagesResponse { images: images.collect() })
}

fn create_image(state: &mut State, space: String, question: OneImage) -> Result<OneImage, Status> {
    let image = question.image.unwrap_or_default();
    let key = (space, image.name.clone());
    if state.images.contains_key(&key) {
        return Err(Status::new(Code::AlreadyExists, "it has a name"));
    }
    state.images.insert(key, image.target.clone().unwrap_or_default());
    Ok(OneImage { image: Some(image) })
}

fn update_image(state: &mut State, space: String, question: UpdateImageRequest) -> Result<OneImage, Status> {
    let image = question.image.unwrap_or_default();
    let there = state.images.get_mut(&(space, image.name.clone()));
    *there.ok_or_else(|| Status::not_found("no such image"))? = image.target.clone().unwrap_or_default();
    Ok(OneImage { image: Some(image) })
}

fn hold(state: &mut State, _: String, question: AddResourceRequest) -> Result<Empty, Status> {
    let lease = state.leases.get_mut(&question.id).ok_or_else(|| Status::not_found("no such lease"))?;
    lease.held.insert(question.resource.unwrap_or_default().id);
    Ok(Empty {})
}
