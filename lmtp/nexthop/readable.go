package nexthop

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// readable reports whether a read would return at once: with bytes, with the end of the connection, or with an error. It does not wait,
// and reads nothing. For a connection that is not a socket it returns false.
func readable(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	// A past deadline, left by an earlier call, would fail the read before it looks.
	nc.SetReadDeadline(time.Time{})
	yes := true
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		yes = !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
		return true
	})
	return err != nil || yes
}
