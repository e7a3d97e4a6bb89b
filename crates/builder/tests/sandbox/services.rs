//! Services: their ports, their health, their end.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use builder::sandbox::{
    Command, Health, Network, OutputListener, RunningService, SandboxError, ServiceOptions, Status,
};

use crate::rooms::{Room, shell};

const LONG: Duration = Duration::from_secs(30);

fn quiet() -> OutputListener {
    Box::new(|_, _| {})
}

fn private(script: &str) -> Command {
    Command { network: Network::Private, ..shell(script) }
}

fn start(room: &Room, command: &Command, options: &ServiceOptions<'_>) -> RunningService {
    room.sandbox.start(&room.root, command, options, quiet()).unwrap()
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_port_inside_is_reached_from_outside() {
    let Some(room) = Room::new() else { return };
    let command = private("echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp");
    let service = start(&room, &command, &ServiceOptions { ports: &[8080], ..Default::default() });
    service.wait_healthy(LONG).unwrap();
    let address = service.address(8080).unwrap();
    assert!(address.ip().is_loopback() && address.port() != 8080);
    for _ in 0..20 {
        assert!(get(address, "/").ends_with("hello\n"));
    }
    assert_eq!(service.address(81), None);
    let exit = service.stop("SIGTERM", LONG).unwrap();
    assert_eq!(exit.status, Status::Signal(15));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn much_data_goes_both_ways_and_halves_close_apart() {
    let Some(room) = Room::new() else { return };
    // Answers only after the client has finished sending.
    let command = private("exec nc -ll -p 9000 -e /bin/wc -c");
    let service = start(&room, &command, &ServiceOptions { ports: &[9000], ..Default::default() });
    service.wait_healthy(LONG).unwrap();
    let mut stream = TcpStream::connect(service.address(9000).unwrap()).unwrap();
    stream.write_all(&vec![b'x'; 3_000_000]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer.trim(), "3000000");
}

#[test]
fn a_service_that_does_not_listen_is_not_healthy() {
    let Some(room) = Room::new() else { return };
    let service =
        start(&room, &private("sleep 1000"), &ServiceOptions { ports: &[8080], ..Default::default() });
    let error = service.wait_healthy(Duration::from_millis(300)).unwrap_err();
    let SandboxError::Unhealthy { reason, .. } = &error else { panic!("{error}") };
    assert!(reason.starts_with("nothing answers on port 8080 inside"), "{reason}");
    // What connects to the relay is refused like what connects to a closed port.
    let mut stream = TcpStream::connect(service.address(8080).unwrap()).unwrap();
    assert!(stream.read(&mut [0]).is_err());
}

#[test]
fn the_health_check_runs_inside() {
    let Some(room) = Room::new() else { return };
    let mut command =
        private("while ! test -e /tmp/asked; do sleep 0.05; done; touch /tmp/ready; sleep 1000");
    command.environment.push(("PLACE".to_owned(), "/tmp".to_owned()));
    let check = "touch $PLACE/asked; pwd; id -u; hostname; test -e $PLACE/ready";
    let health = Health::new(["/bin/sh", "-c", check].map(str::to_owned).to_vec());
    let options = ServiceOptions { health: Some(&health), ..Default::default() };
    start(&room, &command, &options).wait_healthy(LONG).unwrap();
}

#[test]
fn a_failing_health_check_says_what_it_said() {
    let Some(room) = Room::new() else { return };
    let check = |script: &str, reason: &str| {
        let arguments = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let (interval, timeout) = (Duration::from_millis(20), Duration::from_millis(300));
        let health = Health { interval, timeout, retries: 2, ..Health::new(arguments) };
        let options = ServiceOptions { health: Some(&health), ..Default::default() };
        let error = start(&room.another(), &private("sleep 1000"), &options).wait_healthy(LONG).unwrap_err();
        let SandboxError::Unhealthy { reason: found, .. } = &error else { panic!("{error}") };
        assert_eq!(found, reason);
    };
    check("echo no database; exit 3", "the health check gave exit code 3: no database");
    check("sleep 1000", "the health check took longer than 0.3 s");
}

#[test]
fn a_service_that_ends_or_never_starts_says_so() {
    let Some(room) = Room::new() else { return };
    let service = start(&room, &private("exit 7"), &ServiceOptions { ports: &[1], ..Default::default() });
    let error = service.wait_healthy(LONG).unwrap_err();
    assert!(error.to_string().ends_with("it ended with exit code 7"), "{error}");
    assert_eq!(service.ended().unwrap().unwrap().status, Status::Code(7));
    let room = room.another();
    let absent =
        room.sandbox.start(&room.root, &Command::new(&["/absent"]), &ServiceOptions::default(), quiet());
    assert_eq!(absent.unwrap_err().shell_code(), Some(127));
}

#[test]
fn services_that_share_a_network_reach_each_other_by_name() {
    let Some(room) = Room::new() else { return };
    let api = private("echo from api > /tmp/index.html; exec httpd -f -p 8081 -h /tmp");
    let api = start(&room, &api, &ServiceOptions { ports: &[8081], ..Default::default() });
    api.wait_healthy(LONG).unwrap();
    let mut web = private("wget -q -O /tmp/index.html http://api:8081/ && exec httpd -f -p 8082 -h /tmp");
    web.hosts.push((IpAddr::V4(Ipv4Addr::LOCALHOST), "api".to_owned()));
    let room = room.another();
    let web = start(&room, &web, &ServiceOptions { ports: &[8082], join: Some(&api), ..Default::default() });
    web.wait_healthy(LONG).unwrap();
    assert!(get(web.address(8082).unwrap(), "/").ends_with("from api\n"));
}

#[test]
fn output_is_heard_while_it_runs_and_the_stop_signal_is_the_images() {
    let Some(room) = Room::new() else { return };
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    let command = private("trap 'echo bye; exit 5' QUIT; echo up; while :; do sleep 0.05; done");
    let health = Health::new(["/bin/true"].map(str::to_owned).to_vec());
    let options = ServiceOptions { health: Some(&health), ..Default::default() };
    let output: OutputListener = Box::new(move |_, bytes| listener.lock().unwrap().extend_from_slice(bytes));
    let service = room.sandbox.start(&room.root, &command, &options, output).unwrap();
    service.wait_healthy(LONG).unwrap();
    while !heard.lock().unwrap().starts_with(b"up\n") {
        std::thread::yield_now();
    }
    assert_eq!(service.stop("SIGQUIT", LONG).unwrap().status, Status::Code(5));
    assert_eq!(*heard.lock().unwrap(), b"up\nbye\n");
}

#[test]
fn a_service_that_ignores_its_signal_is_killed() {
    let Some(room) = Room::new() else { return };
    let health = Health::new(["/bin/test", "-e", "/tmp/deaf"].map(str::to_owned).to_vec());
    let options = ServiceOptions { health: Some(&health), ..Default::default() };
    let service = start(&room, &private("trap '' TERM; touch /tmp/deaf; sleep 1000"), &options);
    service.wait_healthy(LONG).unwrap();
    let exit = service.stop("", Duration::from_millis(100)).unwrap();
    assert_eq!(exit.status, Status::Signal(9));
}

#[test]
fn a_listener_that_panics_ends_the_service_and_is_named() {
    let Some(room) = Room::new() else { return };
    let output: OutputListener = Box::new(|_, _| panic!("the listener's own fault"));
    let options = ServiceOptions { ports: &[8080], ..Default::default() };
    // Whichever comes first, the panic or the program's start.
    let started = room.sandbox.start(&room.root, &private("echo up; sleep 1000"), &options, output);
    let error = started.and_then(|service| service.wait_healthy(LONG)).unwrap_err();
    assert!(error.to_string().contains("the listener to its output panicked"), "{error}");
}
