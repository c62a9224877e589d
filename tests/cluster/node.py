"""A Kubernetes of one node, of its own programs, as processes of this machine.

etcd, containerd, runc and the CNI plugins are Debian's; Kubernetes' programs, CoreDNS and the registry that the node
pulls from are built from their Go modules (`kubernetes/go.mod`, `coredns/go.mod`, `registry/go.mod`). Pods have
addresses of their own on a bridge, services are those of kube-proxy, names those of CoreDNS. Nothing of Kubernetes is
left out or replaced.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

HERE = Path(__file__).parent
ADDRESS = "10.99.0.1"  # the node's, on an interface of its own
INTERFACE = "hares-node"
POD_RANGE, SERVICE_RANGE = "10.98.0.0/16", "10.96.0.0/16"
DNS_SERVICE = "10.96.0.10"
REGISTRY = "localhost:5000"  # engines call it without TLS, by its name
MIRRORED = (
    "docker.io",
    "gcr.io",
    "ghcr.io",
    "quay.io",
)  # it has what manifests name there, as a company's mirror does
PAUSE_IMAGE = f"{REGISTRY}/pause:1"
KEPT = ("images", "registry")  # of an earlier node, since they take minutes to make
VERSION = "v1.32.13"  # as kubernetes/go.mod has it; the last minor versions serve no cgroup v1
PROGRAMS = (
    "kube-proxy",
    "kube-scheduler",
    "kube-controller-manager",
    "kube-apiserver",
)  # in the order of their end
DEBIAN = {
    "etcd": "etcd-server", "containerd": "containerd", "runc": "runc", "iptables": "iptables",
    "conntrack": "conntrack", "buildah": "buildah",
}  # fmt: skip
USERS = {
    "admin": ("admin", "system:masters"),
    "kubelet": ("system:node:{node}", "system:nodes"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
}


class NodeError(Exception):
    """Something that the node needs is absent, or one of its programs has ended."""


def missing() -> str:
    """Why no node can run here, or nothing."""
    if os.geteuid() != 0:
        return "a node needs root"
    absent = [package for program, package in DEBIAN.items() if shutil.which(program) is None]
    absent += [] if Path("/usr/lib/cni/bridge").exists() else ["containernetworking-plugins"]
    if absent:
        return f"apt-get install {' '.join(absent)}"
    return "" if shutil.which("go") else "Kubernetes is built by Go, which is not installed"


def build(module: Path, into: Path, flags: str = "", modfile: Path | None = None) -> None:
    """Builds all tools of a Go module of ours; Go's cache makes a second build a matter of seconds."""
    into.mkdir(parents=True, exist_ok=True)
    options = [f"-modfile={modfile}"] if modfile else []
    subprocess.run(
        ["go", "build", "-trimpath", f"-ldflags=-s -w {flags}", *options, "-o", str(into), "tool"],
        cwd=module, env={**os.environ, "CGO_ENABLED": "0"}, check=True,
    )  # fmt: skip


@dataclass
class Node:
    """The node's state is one folder, and its processes end with it.

    Attributes:
        folder: everything that the node keeps; etcd's data, images and containers too.
        programs: what `build` has made.
        processes: by name; each ends with the node.
    """

    folder: Path
    programs: Path
    name: str = "hares-node"
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=lambda: {user: secrets.token_hex(16) for user in USERS})

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.json"

    @property
    def socket(self) -> Path:
        return self.folder / "containerd.sock"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._interface()
        self._certificates()
        self._configurations()
        for name in ("etcd", "containerd", "registry", "kube-apiserver"):
            self.start_program(name)
        self.wait("the API server", lambda: self.kubectl("get", "--raw", "/readyz") == "ok")
        for name in ("kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "coredns"):
            self.start_program(name)
        self._name_service()
        self.wait("the node", lambda: "True" in self.kubectl(
            "get", "node", self.name, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
        ))  # fmt: skip

    def forget(self) -> None:
        """Removes what an earlier node left, but for images."""
        for path in self.folder.iterdir() if self.folder.exists() else ():
            if path.name not in KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def stop(self) -> None:
        """Ends every process and container, and removes what the node put into the machine's network."""
        for name in ("kubelet", "coredns", *PROGRAMS):
            self._end(name)
        if "containerd" in self.processes:
            self._remove_pods()
        for name in ("containerd", "registry", "etcd"):
            self._end(name)
        subprocess.run(
            [self.programs / "kube-proxy", "--cleanup"], capture_output=True, check=False, timeout=60
        )
        for link in (INTERFACE, "hares-pods"):
            subprocess.run(["ip", "link", "del", link], capture_output=True, check=False)
        for mount in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            place = mount.split()[1]
            if place.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "-l", place], capture_output=True, check=False)

    def start_program(self, name: str) -> None:
        log = open(self.folder / f"{name}.log", "ab")  # noqa: SIM115  (the process has it for its life)
        self.processes[name] = subprocess.Popen(
            self._command(name), stdout=log, stderr=log, cwd=self.folder, start_new_session=True
        )
        log.close()

    def kubectl(self, *arguments: str, given: str = "", check: bool = True) -> str:
        done = subprocess.run(
            [self.programs / "kubectl", "--kubeconfig", self.kubeconfig, *arguments],
            input=given, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        if check and done.returncode:
            raise NodeError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, *objects: dict) -> None:
        self.kubectl(
            "apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        )

    def ctr(self, *arguments: str) -> str:
        done = subprocess.run(
            ["ctr", "--address", self.socket, "--namespace", "k8s.io", *arguments],
            capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        if done.returncode:
            raise NodeError(f"ctr {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def wait(self, what: str, ready: Callable[[], bool], seconds: float = 180) -> None:
        """Until `ready()` is true; raises NodeError with the last lines of the logs."""
        deadline = time.monotonic() + seconds
        while True:
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise NodeError(f"{name} ended with {process.returncode}:\n{self.log(name)}")
            with contextlib.suppress(NodeError, OSError):
                if ready():
                    return
            if time.monotonic() > deadline:
                raise NodeError(f"{what} is not ready after {seconds:.0f} s:\n{self.log('kubelet')}")
            time.sleep(0.5)

    def log(self, name: str, lines: int = 15) -> str:
        path = self.folder / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def _end(self, name: str) -> None:
        process = self.processes.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _remove_pods(self) -> None:
        for task in self.ctr("tasks", "list", "--quiet").split():
            subprocess.run(
                ["ctr", "--address", self.socket, "--namespace", "k8s.io", "tasks", "delete", "--force", task],
                capture_output=True, check=False,
            )  # fmt: skip
        subprocess.run(["pkill", "-9", "-f", f"containerd-shim.*{self.socket}"], check=False)
        if containers := self.ctr("containers", "list", "--quiet").split():
            self.ctr("containers", "delete", *containers)

    def _interface(self) -> None:
        for arguments in (("add", INTERFACE, "type", "bridge"), ("set", INTERFACE, "up")):
            subprocess.run(["ip", "link", *arguments], capture_output=True, check=False)
        subprocess.run(["ip", "address", "replace", f"{ADDRESS}/32", "dev", INTERFACE], check=True)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        bridged = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
        if bridged.exists():
            bridged.write_text("1")

    def _certificates(self) -> None:
        now = datetime.datetime.now(datetime.timezone.utc)
        keys = {name: rsa.generate_private_key(65537, 2048) for name in ("ca", "server", "accounts")}

        def name(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        def signed(which: str, *extensions: tuple[x509.ExtensionType, bool]) -> bytes:
            builder = x509.CertificateBuilder(
                subject_name=name(which), issuer_name=name("ca"), public_key=keys[which].public_key(),
                serial_number=x509.random_serial_number(), not_valid_before=now - datetime.timedelta(hours=1),
                not_valid_after=now + datetime.timedelta(days=30),
            )  # fmt: skip
            for extension, critical in extensions:
                builder = builder.add_extension(extension, critical)
            return builder.sign(keys["ca"], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

        services = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")
        addresses = (ADDRESS, "10.96.0.1", "127.0.0.1")
        alternatives = [x509.DNSName(service) for service in services]
        alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        (self.folder / "ca.pem").write_bytes(signed("ca", (x509.BasicConstraints(True, None), True)))
        (self.folder / "server.pem").write_bytes(
            signed("server", (x509.SubjectAlternativeName(alternatives), False))
        )
        for which, key in keys.items():
            pem = key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
            (self.folder / f"{which}.key").write_bytes(pem)

    def _configurations(self) -> None:
        rows = []
        for user, (login, group) in USERS.items():
            login = login.format(node=self.name)
            rows.append(f'{self.tokens[user]},{login},{user},"{group}"')
            config = {
                "apiVersion": "v1", "kind": "Config", "current-context": "node",
                "clusters": [{"name": "node", "cluster": {
                    "server": f"https://{ADDRESS}:6443", "certificate-authority": str(self.folder / "ca.pem"),
                }}],
                "users": [{"name": user, "user": {"token": self.tokens[user]}}],
                "contexts": [{"name": "node", "context": {"cluster": "node", "user": user}}],
            }  # fmt: skip
            (self.folder / f"{user}.json").write_text(json.dumps(config))
        (self.folder / "tokens.csv").write_text("\n".join(rows) + "\n")
        (self.folder / "cni").mkdir(exist_ok=True)
        (self.folder / "cni" / "10-pods.conflist").write_text(json.dumps({
            "cniVersion": "0.4.0", "name": "pods", "plugins": [
                {"type": "bridge", "bridge": "hares-pods", "isGateway": True, "ipMasq": True, "hairpinMode": True,
                 "ipam": {"type": "host-local", "dataDir": str(self.folder / "addresses"),
                          "ranges": [[{"subnet": POD_RANGE}]], "routes": [{"dst": "0.0.0.0/0"}]}},
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }))  # fmt: skip
        (self.folder / "containerd.toml").write_text(
            f"""
version = 2
root = "{self.folder}/images"
state = "{self.folder}/state"
[grpc]
address = "{self.socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true  # a user without CAP_SYS_RESOURCE lowers nobody's
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{self.folder}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
discard_unpacked_layers = true  # gigabytes, which the registry has
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""
            + "".join(
                f'[plugins."io.containerd.grpc.v1.cri".registry.mirrors."{host}"]\nendpoint = ["http://{REGISTRY}"]\n'
                for host in MIRRORED
            )
        )
        (self.folder / "registry.json").write_text(json.dumps({
            "version": 0.1, "http": {"addr": REGISTRY.replace("localhost", "127.0.0.1")},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "registry")}},
        }))  # fmt: skip
        (self.folder / "kubelet-config.json").write_text(json.dumps({
            "kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "address": ADDRESS, "cgroupDriver": "cgroupfs", "failSwapOn": False,
            "containerRuntimeEndpoint": f"unix://{self.socket}",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "clusterDNS": [DNS_SERVICE], "clusterDomain": "cluster.local", "resolvConf": "",
            "staticPodPath": "", "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        }))  # fmt: skip
        (self.folder / "Corefile").write_text(
            f".:53 {{\n    bind {ADDRESS}\n    errors\n    kubernetes cluster.local in-addr.arpa {{\n"
            f"        kubeconfig {self.folder}/admin.json node\n        pods insecure\n    }}\n    cache 5\n}}\n"
        )

    def _name_service(self) -> None:
        """`kube-dns` is a service whose only address is CoreDNS' on the node."""
        ports = [{"name": name, "port": 53, "protocol": name.upper()} for name in ("udp", "tcp")]
        meta = {"name": "kube-dns", "namespace": "kube-system"}
        spec = {"clusterIP": DNS_SERVICE, "ports": ports}
        subsets = [{"addresses": [{"ip": ADDRESS}], "ports": ports}]
        self.apply(
            {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec},
            {"apiVersion": "v1", "kind": "Endpoints", "metadata": meta, "subsets": subsets},
        )

    def _command(self, name: str) -> list[str]:
        folder, own = self.folder, str(self.programs / name)
        clients, peers = "http://127.0.0.1:23790", "http://127.0.0.1:23800"
        commands = {
            "etcd": [
                "etcd", f"--data-dir={folder}/etcd", f"--listen-client-urls={clients}",
                f"--advertise-client-urls={clients}", f"--listen-peer-urls={peers}",
                f"--initial-advertise-peer-urls={peers}", f"--initial-cluster=default={peers}", "--unsafe-no-fsync",
            ],
            "containerd": ["containerd", f"--config={folder}/containerd.toml"],
            "registry": [own, "serve", f"{folder}/registry.json"],
            "coredns": [own, f"-conf={folder}/Corefile"],
            "kube-apiserver": [
                own, f"--etcd-servers={clients}", f"--service-cluster-ip-range={SERVICE_RANGE}",
                f"--advertise-address={ADDRESS}", "--secure-port=6443", f"--tls-cert-file={folder}/server.pem",
                f"--tls-private-key-file={folder}/server.key", f"--token-auth-file={folder}/tokens.csv",
                f"--client-ca-file={folder}/ca.pem", "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
                "--kubelet-preferred-address-types=InternalIP",
                f"--service-account-key-file={folder}/accounts.key",
                f"--service-account-signing-key-file={folder}/accounts.key",
                "--service-account-issuer=https://kubernetes.default.svc",
            ],
            "kube-controller-manager": [
                own, f"--kubeconfig={folder}/controller-manager.json", "--leader-elect=false",
                "--use-service-account-credentials=true", f"--root-ca-file={folder}/ca.pem",
                f"--service-account-private-key-file={folder}/accounts.key",
                f"--service-cluster-ip-range={SERVICE_RANGE}",
            ],
            "kube-scheduler": [own, f"--kubeconfig={folder}/scheduler.json", "--leader-elect=false"],
            "kube-proxy": [
                own, f"--kubeconfig={folder}/proxy.json", "--proxy-mode=iptables", f"--cluster-cidr={POD_RANGE}",
                f"--hostname-override={self.name}", "--conntrack-max-per-core=0",
                "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
            ],
            "kubelet": [
                own, f"--kubeconfig={folder}/kubelet.json", f"--config={folder}/kubelet-config.json",
                f"--hostname-override={self.name}", f"--node-ip={ADDRESS}", f"--root-dir={folder}/kubelet",
            ],
        }  # fmt: skip
        return commands[name]
