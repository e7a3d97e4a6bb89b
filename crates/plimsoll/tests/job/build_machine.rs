//! What steps get of this machine: authorities and proxies where they are lent, memory and processes where they are
//! allowed, and nothing of its secrets.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use registry::server::{SelfSigned, Server, ServerHandle, ServerOptions, Tls};
use serde_json::Value;

use crate::seen::Seen;
use crate::shop::{Shop, skip};

fn digest(answer: &Value) -> &str {
    answer["services"]["app"]["digest"].as_str().unwrap()
}

/// Everything a CI host puts into the environment of its jobs, and what people keep in theirs.
const SECRETS: [&str; 8] = [
    "GITHUB_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_RUNTIME_TOKEN",
    "CI_JOB_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "DOCKER_AUTH_CONFIG_TEST",
    "COSIGN_PASSWORD",
    "SSH_AUTH_SOCK",
];

#[test]
fn steps_see_nothing_of_the_environment_and_files_around() {
    let lines = "FROM local/base:1\nRUN cat /proc/*/environ 2>/dev/null | grep -q sw[o]rdfish && exit 3; \\\n \
                 busybox env | grep sw[o]rdfish && exit 4; test ! -e SECRET || exit 5; \\\n \
                 ls /proc/1/root/etc && exit 6; test $(ls -d /proc/[0-9]* | busybox wc -l) -lt 9\n";
    for kind in ["root", "single", "chroot"] {
        let Some(shop) = Shop::open(&[("plimsoll.toml", "[service.app]\n"), ("Dockerfile", "")]) else {
            return;
        };
        std::fs::write(shop.beside("secret"), "swordfish").unwrap();
        shop.write("Dockerfile", lines.replace("SECRET", shop.beside("secret").to_str().unwrap()));
        if shop.call(&format!("doctor --sandbox {kind}")).code != Some(0) {
            skip(&format!("{kind} is not possible here")).unwrap_or(())
        } else {
            let environment = SECRETS.map(|name| (name, OsStr::new("swordfish")));
            let line = format!("build -t local/app:1 --ci none --sandbox {kind} .");
            shop.call_with(&line, &environment).exits(0).says_not("swordfish");
        }
    }
}

#[test]
fn authorities_and_proxies_are_lent_and_leave_no_trace() {
    let Some(shop) = Shop::with_dockerfile(
        "FROM local/base:1\nRUN echo lent: $https_proxy $(cat ${SSL_CERT_FILE:-/dev/null} ${PIP_CERT:-/dev/null}); echo 1 >/same\n",
    ) else {
        return;
    };
    let bundle = shop.beside("bundle.pem");
    std::fs::write(&bundle, "AUTHORITIES\n").unwrap();
    let call = |flags: &str| -> Seen {
        let environment =
            [("SSL_CERT_FILE", bundle.as_os_str()), ("https_proxy", OsStr::new("http://proxy.test:3128"))];
        let line = format!("build -t local/app:1 --progress plain --format json {flags} .");
        shop.call_with(&line, &environment)
    };
    let alone = call("").exits(0).says_not("proxy.test").says_not("AUTHORITIES").json();
    // Nothing of it is in the key: the step of a build without is that of a build with it.
    let known = call("--host-ca").exits(0).json();
    assert_eq!(known["services"]["app"]["cached"], known["services"]["app"]["steps"]);
    let lent = call("--host-ca --no-cache")
        .exits(0)
        .says("lent: http://proxy.test:3128 AUTHORITIES AUTHORITIES")
        .json();
    assert_eq!([digest(&known), digest(&lent)], [digest(&alone); 2]);
    if shop.call("doctor --sandbox chroot").code == Some(0) {
        let copied = call("--host-ca --no-cache --sandbox chroot").exits(0).says("AUTHORITIES").json();
        assert_eq!(digest(&copied), digest(&alone));
    }
    // What the Dockerfile says itself stays.
    shop.write("Dockerfile", "FROM local/base:1\nENV SSL_CERT_FILE=/own HTTPS_PROXY=http://own\nRUN echo $SSL_CERT_FILE $https_proxy-\n");
    call("--host-ca").exits(0).says("/own -");
    // By the configuration, for services.
    shop.write("plimsoll.toml", "[defaults]\nhost-ca = true\n[service.app]\n");
    shop.write("Dockerfile", "FROM local/base:1\nRUN cat $CURL_CA_BUNDLE\n");
    shop.call_with("build --progress plain", &[("SSL_CERT_FILE", bundle.as_os_str())])
        .exits(0)
        .says("AUTHORITIES");
    shop.call_with("build", &[("SSL_CERT_FILE", OsStr::new("/nowhere.pem"))]).exits(2).says("/nowhere.pem");
}

/// A server with a certificate of its own that nobody vouches for.
fn server(folder: &Path) -> (ServerHandle, PathBuf) {
    let now = std::fs::metadata(folder).unwrap().modified().unwrap().try_into().unwrap();
    let made = SelfSigned::new(&["127.0.0.1".to_owned()], now).unwrap();
    let tls = Tls::from_pem(made.certificate.as_bytes(), made.key.as_bytes()).unwrap();
    let file = folder.join("server.pem");
    std::fs::write(&file, &made.certificate).unwrap();
    let store = store::LayoutStore::open(&folder.join("served")).unwrap();
    let options = ServerOptions::new("127.0.0.1:0".parse().unwrap(), store);
    (Server::start(ServerOptions { tls: Some(tls), ..options }).unwrap(), file)
}

/// Copies this machine's curl with its libraries into the project; `None` where it has none.
fn copy_curl(shop: &Shop) -> Option<()> {
    let listed =
        Command::new("ldd").arg("/usr/bin/curl").output().ok().filter(|listed| listed.status.success());
    let Some(listed) = listed else { return skip("no curl on this machine") };
    let listed = String::from_utf8(listed.stdout).unwrap();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain(["/usr/bin/curl"]) {
        shop.write(&format!("files{file}"), std::fs::read(file).unwrap());
    }
    let curl = shop.path("files/usr/bin/curl");
    std::fs::set_permissions(&curl, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for loader in listed.split_whitespace().filter(|word| word.starts_with("/lib64/ld-")) {
        let loader = shop.path(&format!("files{loader}"));
        std::fs::set_permissions(loader, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    Some(())
}

#[test]
fn a_step_trusts_whom_the_machine_trusts() {
    let Some(shop) = Shop::with_dockerfile("") else { return };
    if copy_curl(&shop).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (server, certificate) = server(folder.path());
    let url = format!("https://{}/v2/", server.address());
    let call = |flags: &str, dockerfile: &str| {
        shop.write("Dockerfile", dockerfile);
        let line = format!("build -t local/app:1 {flags} .");
        shop.call_with(&line, &[("SSL_CERT_FILE", certificate.as_os_str())])
    };
    let run = format!("FROM local/base:1\nCOPY files /\nRUN curl -sS --noproxy '*' {url}\n");
    call("", &run).exits(1).says("certificate");
    call("--host-ca", &run).exits(0);
    // ADD trusts the machine's authorities in any case.
    call("", &format!("FROM scratch\nADD {url} /answer\n")).exits(0);
    server.stop();
    server.join();
}

#[test]
fn a_step_that_starts_processes_for_ever_is_ended() {
    let bomb = "FROM local/base:1\nRUN bomb() { bomb | bomb & }; bomb; while true; do sleep 1; done\n";
    let Some(shop) = Shop::with_dockerfile(bomb) else { return };
    let seen = shop.call("build -t local/app:1 --pids-limit 60 --step-timeout 60s .").exits(1);
    if seen.stderr.contains("the limit of processes holds for") {
        return skip("no control group for processes can be made").unwrap_or(());
    }
    seen.says("may be 60 processes at once (--pids-limit)").says("Dockerfile:2");
    no_group_is_left();
}

#[test]
fn a_step_that_runs_out_of_memory_says_so_whatever_its_shell_says() {
    let greedy = "FROM local/base:1\nRUN dd if=/dev/zero of=/dev/null bs=200M count=1 || exit 7\n";
    let Some(shop) = Shop::with_dockerfile(greedy) else { return };
    shop.write("plimsoll.toml", "[defaults.limits]\nmemory = \"64MiB\"\n[service.app]\n");
    let seen = shop.call("build").exits(1);
    if seen.stderr.contains("the limit of memory holds for") {
        return skip("no control group for memory can be made").unwrap_or(());
    }
    seen.says("memory ran out: the steps of this build may use 64 MiB (--memory)");
    shop.call("build -t local/app:1 --memory 2g .").exits(0);
    no_group_is_left();
}

/// Demands that no group of a process that is gone stays.
#[track_caller]
fn no_group_is_left() {
    for folder in ["", "memory", "pids", "unified"] {
        let entries =
            std::fs::read_dir(Path::new("/sys/fs/cgroup").join(folder)).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(process) = name.strip_prefix("plimsoll-").and_then(|rest| rest.split('-').next()) else {
                continue;
            };
            let lives = process.parse::<u32>().is_err() || Path::new("/proc").join(process).exists();
            assert!(lives, "{} is left", entry.path().display());
        }
    }
}
