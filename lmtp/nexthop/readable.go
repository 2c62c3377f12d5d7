package nexthop

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// readable reports, without waiting and without taking anything, whether a read would return at once: with bytes, with the end
// of the connection, or with an error. It knows nothing of connections that are no sockets, and says no.
func readable(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	// A deadline of an earlier call that has passed would fail the read before it looked.
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
