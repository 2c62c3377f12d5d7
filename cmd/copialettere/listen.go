package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"copialettere/cmd/copialettere/config"
)

// listen opens the listeners of a hook or of the admin interface: all of them, or none on an error. Unix sockets get the mode and the group.
func listen(list []config.Listener, mode os.FileMode, group string, sockets *systemdSockets) ([]net.Listener, error) {
	var open []net.Listener
	for _, l := range list {
		var more []net.Listener
		var err error
		switch l.Network {
		case "systemd":
			more, err = sockets.take(l.Address)
		case "unix":
			more, err = listenUnix(l.Address, mode, group)
		default:
			var one net.Listener
			one, err = net.Listen(l.Network, l.Address)
			more = []net.Listener{one}
		}
		if err != nil {
			for _, o := range open {
				o.Close()
			}
			return nil, fmt.Errorf("listen on %s: %w", l, err)
		}
		open = append(open, more...)
	}
	return open, nil
}

// listenUnix opens a unix socket. It removes a socket that a killed daemon left behind, but none on which somebody answers.
func listenUnix(path string, mode os.FileMode, group string) ([]net.Listener, error) {
	if nc, err := net.DialTimeout("unix", path, time.Second); err == nil {
		nc.Close()
		return nil, errors.New("another process listens there")
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove stale socket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	// Until here the socket has the mode of the umask, which gives others no access.
	if err := setAccess(path, mode, group); err != nil {
		l.Close()
		return nil, err
	}
	return []net.Listener{l}, nil
}

func setAccess(path string, mode os.FileMode, group string) error {
	if group != "" {
		g, err := user.LookupGroup(group)
		if err != nil {
			return err
		}
		id, err := strconv.Atoi(g.Gid)
		if err != nil {
			return err
		}
		if err := os.Chown(path, -1, id); err != nil {
			return err
		}
	}
	return os.Chmod(path, mode)
}

// systemdSockets are the sockets that systemd opened for the daemon (sd_listen_fds(3)), by FileDescriptorName.
type systemdSockets struct{ byName map[string][]*os.File }

const firstSystemdFD = 3

func newSystemdSockets() (*systemdSockets, error) {
	s := &systemdSockets{byName: make(map[string][]*os.File)}
	if os.Getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return s, nil
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 {
		return nil, fmt.Errorf("LISTEN_FDS %q: want a number", os.Getenv("LISTEN_FDS"))
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for i := range n {
		name := "unknown"
		if i < len(names) && names[i] != "" {
			name = names[i]
		}
		syscall.CloseOnExec(firstSystemdFD + i)
		s.byName[name] = append(s.byName[name], os.NewFile(uintptr(firstSystemdFD+i), name))
	}
	return s, nil
}

// take returns the listeners of a name, once. Closing them leaves the socket with systemd.
func (s *systemdSockets) take(name string) ([]net.Listener, error) {
	files := s.byName[name]
	if len(files) == 0 {
		return nil, fmt.Errorf("systemd handed over no socket with FileDescriptorName=%s: start the socket unit", name)
	}
	delete(s.byName, name)
	var list []net.Listener
	for _, f := range files {
		l, err := net.FileListener(f)
		f.Close()
		if err != nil {
			return nil, err
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		list = append(list, l)
	}
	return list, nil
}

// notify reports a state such as "READY=1" to systemd (sd_notify(3)). Without systemd it does nothing.
func notify(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if nc, err := net.Dial("unixgram", path); err == nil {
		nc.Write([]byte(state))
		nc.Close()
	}
}
