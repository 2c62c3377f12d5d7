package submission

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

const (
	passIdle  = 15 * time.Minute // without a byte in a direction: a relay has 10 minutes for a message (RFC 5321 section 4.5.3.2.6)
	passQuiet = time.Second      // after an answer of the relay: then nobody waits
	passLook  = 200 * time.Millisecond
	passLast  = time.Minute // for what the relay still says when the program has left
)

// pipe passes bytes between a program and the relay.
type pipe struct {
	client, relay net.Conn

	mu      sync.Mutex
	waiting bool      // the program has said something that the relay has not answered; guarded by mu
	last    time.Time // of the newest byte; guarded by mu
	closed  bool      // nothing more goes to the program; guarded by mu
}

// pass passes bytes between the program and the relay, as they are, until either has ended. When the server stops, it ends once the relay has
// answered what the program has said, so that nobody is left without the answer to a message.
func (c *conn) pass() {
	c.mu.Lock()
	c.passing = true
	p := &pipe{client: c.nc, relay: c.relay.Conn, last: time.Now()}
	p.client.SetReadDeadline(time.Time{})
	c.mu.Unlock()
	var running sync.WaitGroup
	ended := make(chan struct{})
	running.Go(func() {
		p.up(c.in)
		// The program has left. The relay may still say something.
		p.relay.(interface{ CloseWrite() error }).CloseWrite()
		p.relay.SetReadDeadline(time.Now().Add(passLast))
	})
	running.Go(func() {
		defer close(ended)
		p.down(c.relay.in)
		p.close()
	})
	select {
	case <-ended:
	case <-c.ctx.Done():
	case <-c.stop:
		p.settle(c, ended)
	}
	p.close()
	c.relay.Close()
	running.Wait()
}

// settle waits until nobody waits for an answer, and says goodbye.
func (p *pipe) settle(c *conn, ended chan struct{}) {
	tick := time.NewTicker(passLook)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
		p.mu.Lock()
		if quiet := !p.waiting && time.Since(p.last) > passQuiet; quiet && !p.closed {
			p.client.SetWriteDeadline(time.Now().Add(passQuiet))
			p.client.Write([]byte(restarting + "\r\n"))
			p.closed = true
		}
		closed := p.closed
		p.mu.Unlock()
		if closed {
			return
		}
	}
}

// close ends the connection to the program.
func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.client.Close()
}

// up passes bytes to the relay.
func (p *pipe) up(from io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		p.client.SetReadDeadline(time.Now().Add(passIdle))
		n, err := from.Read(buffer)
		p.mu.Lock()
		if n > 0 {
			p.waiting, p.last = true, time.Now()
		}
		p.mu.Unlock()
		p.relay.SetWriteDeadline(time.Now().Add(passIdle))
		if _, failed := p.relay.Write(buffer[:n]); failed != nil || err != nil {
			return
		}
	}
}

// down passes bytes to the program.
func (p *pipe) down(from io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		if n > 0 {
			p.waiting, p.last = false, time.Now()
		}
		if p.closed {
			err = os.ErrClosed
		} else if n > 0 {
			p.client.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, failed := p.client.Write(buffer[:n]); failed != nil {
				err = failed
			}
		}
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}
