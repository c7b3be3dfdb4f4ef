#!/usr/bin/python3
"""The first process of a machine without systemd: it runs unit files as systemd would, as far as handyproxy's go.

    machine.py ROOT

ROOT becomes its root. It starts what is enabled, says "up", and does what /usr/bin/systemctl asks for at /run/machine.
Whatever a unit says and nobody here understands is left out, apart from the commands themselves: sandboxes are looked at
elsewhere (systemd-analyze), so are sockets. Its end is the end of the machine.
"""

import array
import ctypes
import fnmatch
import os
import pwd
import re
import select
import shlex
import signal
import socket
import sys
import time

FOLDERS = ["/etc/systemd/system", "/usr/lib/systemd/system"]
WANTS = "/etc/systemd/system/{}.wants"
TARGET = "multi-user.target"
PATIENCE = 120
STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"

units = {}


class Failed(Exception):
    pass


class Unit:
    def __init__(self, name):
        self.name = name
        self.prefix, _, rest = name.rpartition(".")[0].partition("@")
        self.instance = rest
        template = f"{self.prefix}@.{name.rpartition('.')[2]}"
        found = [f"{folder}/{file}" for folder in FOLDERS for file in (name, template)]
        path = next((path for path in found if os.path.exists(path)), None)
        if path is None:
            raise Failed(f"Unit {name} not found.")
        self.settings = {}
        self.read(path)
        self.main = None
        self.status = None
        self.active = False
        self.ready = False
        self.store = []
        self.alive_at = 0

    def read(self, path):
        section = ""
        text = open(path).read().replace("\\\n", " ")
        for line in map(str.strip, text.splitlines()):
            if line.startswith("["):
                section = line.strip("[]")
            elif line and line[0] not in "#;":
                key, _, value = line.partition("=")
                values = self.settings.setdefault((section, key.strip()), [])
                value = self.expanded(value.strip())
                # an empty value forgets those before it
                values.append(value) if value else values.clear()

    def expanded(self, text):
        known = {"i": self.instance, "I": self.instance, "p": self.prefix, "n": self.name,
                 "N": self.name.rpartition(".")[0], "t": "/run", "S": "/var/lib", "E": "/etc", "%": "%"}
        return re.sub("%(.)", lambda found: known[found[1]], text)

    def all(self, key, section="Service"):
        return self.settings.get((section, key), [])

    def one(self, key, default=""):
        return (self.all(key) or [default])[-1]

    def named(self, key):
        return [name for line in self.all(key, "Unit") for name in line.split()]

    # ---- what its processes see

    def environment(self):
        env = {"PATH": STANDARD_PATH, "LANG": "C.UTF-8"}
        for line in self.all("Environment"):
            env.update(word.split("=", 1) for word in shlex.split(line))
        owner = self.one("User", "root")
        state = [folder for line in self.all("StateDirectory") for folder in line.split()]
        for folder in state:
            made(f"/var/lib/{folder}", owner, 0o750)
        if state:
            env["STATE_DIRECTORY"] = ":".join(f"/var/lib/{folder}" for folder in state)
        run = [folder for line in self.all("RuntimeDirectory") for folder in line.split()]
        for folder in run:
            made(f"/run/{folder}", owner, 0o755)
        if run:
            env["RUNTIME_DIRECTORY"] = ":".join(f"/run/{folder}" for folder in run)
        credentials = {}
        for key in ("SetCredential", "LoadCredential"):
            for line in self.all(key):
                name, _, value = line.partition(":")
                if key == "SetCredential":
                    credentials[name] = value.encode()
                elif os.path.exists(value):
                    credentials[name] = open(value, "rb").read()
        if credentials:
            folder = f"/run/credentials/{self.name}"
            made(folder, owner, 0o500)
            for name, value in credentials.items():
                with open(f"{folder}/{name}", "wb") as file:
                    file.write(value)
                own(f"{folder}/{name}", owner, 0o400)
            env["CREDENTIALS_DIRECTORY"] = folder
        if self.one("Type") == "notify":
            env["NOTIFY_SOCKET"] = "/run/notify"
        if self.watchdog():
            env["WATCHDOG_USEC"] = str(int(self.watchdog() * 1e6))
        if self.main:
            env["MAINPID"] = str(self.main)
        return env

    def watchdog(self):
        span = self.one("WatchdogSec")
        number = re.fullmatch(r"(\d+)\s*(s|sec|min|m|)", span)
        return int(number[1]) * (60 if number[2].startswith("m") else 1) if number else 0

    def command(self, line):
        """The words of a command line, and whether it may fail."""
        prefix = re.match(r"[-@:+!|]*", line)[0]
        words = shlex.split(line[len(prefix):])
        words = [re.sub(r"\$\{?(\w+)\}?", lambda found: self.environment().get(found[1], ""), word) for word in words]
        if not set("+!") & set(prefix):
            words = self.confined() + words
        return words, "-" in prefix

    def confined(self):
        """What stands before a command to give it the unit's user and rights."""
        def given(key):
            names = [word.lower().removeprefix("cap_") for line in self.all(key) for word in line.split()]
            return ",".join(["-all"] + [f"+{name}" for name in names])

        words = []
        user = self.one("User")
        if user:
            words += [f"--reuid={user}", f"--regid={self.one('Group', user)}", "--init-groups"]
            words += [f"--inh-caps={given('AmbientCapabilities')}", f"--ambient-caps={given('AmbientCapabilities')}"]
        if self.all("CapabilityBoundingSet"):
            words.append(f"--bounding-set={given('CapabilityBoundingSet')}")
        if self.one("NoNewPrivileges") == "yes":
            words.append("--no-new-privs")
        return ["setpriv", *words, "--"] if words else []

    # ---- its life

    def start(self):
        if self.active:
            return
        wanted = self.named("Requires") + self.named("BindsTo") + self.named("Wants")
        wanted = [name for name in wanted if not name.endswith((".target", ".slice"))]
        # those that do not say that they come after this one come before it
        later = [name for name in wanted if self.name in unit(name).named("After")]
        for name in [name for name in wanted if name not in later]:
            self.bring(name)
        try:
            self.run()
        except Failed:
            self.stop()
            raise
        for name in later:
            self.bring(name)

    def bring(self, name):
        try:
            unit(name).start()
        except Failed as why:
            log(f"{self.name} wants {name}: {why}")
            if name in self.named("Requires") + self.named("BindsTo"):
                raise

    def run(self):
        for line in self.all("ExecStartPre"):
            self.do(line)
        if self.one("Type") == "oneshot":
            for line in self.all("ExecStart"):
                self.do(line)
            self.active = self.one("RemainAfterExit") in ("yes", "true")
            return
        self.ready, self.status = False, None
        words, _ = self.command(self.one("ExecStart"))
        self.main = self.spawn(words, self.store)
        self.active = True
        until = time.monotonic() + PATIENCE
        while self.one("Type") == "notify" and not self.ready:
            if self.status is not None or time.monotonic() > until:
                raise Failed(f"{self.name} did not become ready, status {self.status}")
            turn(0.05)

    def stop(self, keep=False):
        if self.active:
            for line in self.all("ExecStop"):
                self.do(f"-{line}")
        if self.main:
            os.kill(self.main, signal.SIGTERM)
            until = time.monotonic() + PATIENCE
            while self.main:
                if time.monotonic() > until:
                    os.kill(self.main, signal.SIGKILL)
                turn(0.05)
        self.active = False
        for line in self.all("ExecStopPost"):
            self.do(f"-{line}")
        if keep:
            return
        for descriptor, _ in self.store:
            os.close(descriptor)
        self.store = []
        for other in list(units.values()):
            if other.active and self.name in other.named("StopPropagatedFrom") + other.named("PartOf"):
                other.stop()

    def restart(self):
        self.stop(keep=True)
        self.start()

    def reload(self):
        for line in self.all("ExecReload"):
            self.do(line)

    def do(self, line):
        words, may_fail = self.command(line)
        pid = self.spawn(words, [])
        status = None
        until = time.monotonic() + PATIENCE
        while status is None:
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            turn(0.02)
            status = ended.pop(pid, None)
        if status and not may_fail:
            raise Failed(f"{self.name}: {shlex.join(words)}: status {status}, see /var/log/{self.name}.log")

    def spawn(self, words, store):
        env = self.environment()
        if store:
            env.update(LISTEN_FDS=str(len(store)), LISTEN_FDNAMES=":".join(name for _, name in store))
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            output = os.open(f"/var/log/{self.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
            nothing = os.open("/dev/null", os.O_RDONLY)
            os.dup2(nothing, 0), os.dup2(output, 1), os.dup2(output, 2)
            # first out of the way of where they are going
            kept = [os.dup(descriptor) for descriptor, _ in store]
            kept = [move(descriptor, 100 + i) for i, descriptor in enumerate(kept)]
            for i, descriptor in enumerate(kept):
                os.dup2(descriptor, 3 + i)
            os.closerange(3 + len(kept), 4096)
            if store:
                env["LISTEN_PID"] = str(os.getpid())
            if "WATCHDOG_USEC" in env:
                env["WATCHDOG_PID"] = str(os.getpid())
            os.execvpe(words[0], words, env)
        except BaseException as why:
            os.write(2, f"{words}: {why}\n".encode())
        os._exit(203)

    def heard(self, text, descriptors):
        fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        if fields.get("READY") == "1":
            self.ready = True
        if "1" in (fields.get("READY"), fields.get("WATCHDOG")):
            self.alive_at = time.monotonic()
        if fields.get("FDSTORE") == "1":
            name = fields.get("FDNAME", "stored")
            self.store += [(descriptor, name) for descriptor in descriptors]
        elif fields.get("FDSTOREREMOVE") == "1":
            self.store = [(descriptor, name) for descriptor, name in self.store if name != fields.get("FDNAME")]


def move(descriptor, to):
    os.dup2(descriptor, to)
    os.close(descriptor)
    return to


def made(folder, owner, mode):
    os.makedirs(folder, exist_ok=True)
    own(folder, owner, mode)


def own(path, owner, mode):
    user = pwd.getpwnam(owner)
    os.chown(path, user.pw_uid, user.pw_gid)
    os.chmod(path, mode)


def unit(name):
    if "." not in name:
        name += ".service"
    if name not in units:
        units[name] = Unit(name)
    return units[name]


def log(text):
    with open("/var/log/machine.log", "a") as file:
        file.write(text + "\n")


# ---- the loop

ended = {}
notices = None
control = None


def turn(patience, asked=False):
    """Waits for news of units, and of systemctl if it may ask."""
    sockets = [notices, control] if asked else [notices]
    for one in select.select(sockets, [], [], patience)[0]:
        if one is notices:
            told()
        else:
            answer(control.accept()[0])
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            break
        status = os.waitstatus_to_exitcode(status)
        owner = next((one for one in units.values() if one.main == pid), None)
        if owner:
            owner.main, owner.status, owner.active = None, status, False
        else:
            ended[pid] = status
    for one in units.values():
        if one.main and one.ready and one.watchdog() and time.monotonic() - one.alive_at > one.watchdog():
            log(f"{one.name}: watchdog timeout")
            os.kill(one.main, signal.SIGABRT)


def told():
    # the credentials tell which process it is
    room = socket.CMSG_SPACE(12) + socket.CMSG_SPACE(4 * 16)
    data, extra, _, _ = notices.recvmsg(8192, room)
    descriptors, sender = array.array("i"), 0
    for _, kind, content in extra:
        if kind == socket.SCM_RIGHTS:
            descriptors.frombytes(content)
        elif kind == socket.SCM_CREDENTIALS:
            sender = int.from_bytes(content[:4], sys.byteorder)
    for one in units.values():
        if one.main == sender:
            one.heard(data.decode(), list(descriptors))


def answer(connection):
    words = connection.makefile("r").readline().split()
    try:
        status, text = do(words)
    except Failed as why:
        status, text = 1, f"{why}\n"
    log(f"systemctl {' '.join(words)}: {status} {text}")
    connection.sendall(f"{status}\n{text}".encode())
    connection.close()


def do(words):
    flags = {word for word in words if word.startswith("-")}
    verb, *names = [word for word in words if not word.startswith("-")]
    if verb == "daemon-reload":
        for one in units.values():
            if not one.active:
                continue
            one.settings = Unit(one.name).settings
        return 0, ""
    if any("*" in name for name in names):
        names = [name for name in units if units[name].active and any(fnmatch.fnmatch(name, n) for n in names)]
    elif verb == "try-restart":
        names = [name for name in names if unit(name).active]
    if verb in ("is-active", "is-enabled"):
        is_on = {"is-active": lambda name: unit(name).active, "is-enabled": lambda name: os.path.lexists(link(name))}[verb]
        return (0, "yes\n") if all(map(is_on, names)) else (3, "no\n")
    if verb in ("enable", "disable"):
        for name in names:
            (enable if verb == "enable" else disable)(name)
        if "--now" not in flags:
            return 0, ""
        verb = {"enable": "start", "disable": "stop"}[verb]
    acts = {"start": Unit.start, "stop": Unit.stop, "restart": Unit.restart, "try-restart": Unit.restart, "reload": Unit.reload}
    if verb not in acts:
        raise Failed(f"machine.py knows no systemctl {verb}")
    for name in names:
        if verb != "stop" or unit(name).active:
            acts[verb](unit(name))
    return 0, ""


def link(name):
    return f"{WANTS.format(TARGET)}/{unit(name).name}"


def enable(name):
    if TARGET not in unit(name).all("WantedBy", "Install"):
        raise Failed(f"{name} is not wanted by {TARGET}")
    os.makedirs(os.path.dirname(link(name)), exist_ok=True)
    if not os.path.lexists(link(name)):
        os.symlink(f"/usr/lib/systemd/system/{unit(name).prefix}@.service", link(name))


def disable(name):
    if os.path.lexists(link(name)):
        os.unlink(link(name))


def main():
    global notices, control
    os.chroot(sys.argv[1])
    os.chdir("/")
    # its own name must not lead to the host's
    ctypes.CDLL(None).sethostname(b"gateway", 7)
    # whom doctor knows as one who keeps others' sockets
    with open("/proc/self/comm", "w") as name:
        name.write("systemd")
    os.makedirs("/run/systemd/system")
    notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notices.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    notices.bind("/run/notify")
    os.chmod("/run/notify", 0o777)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    control.bind("/run/machine")
    control.listen(8)
    folder = WANTS.format(TARGET)
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        try:
            unit(name).start()
        except Failed as why:
            log(str(why))
    print("up", flush=True)
    while True:
        turn(0.2, asked=True)


main()
