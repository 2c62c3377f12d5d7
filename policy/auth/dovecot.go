package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"copialettere/policy"
)

const (
	dovecotConnect = 10 * time.Second // for the connection and the handshake
	// dovecotLife is how long a connection takes logins. An auth process lives on with its old configuration, after a reload of Dovecot and even
	// after its end, as long as a client is connected.
	dovecotLife   = 30 * time.Second
	dovecotAnswer = 30 * time.Second // for one answer: Dovecot holds back a refusal for 2 s, and waits for a policy server of its own
)

// dovecot is Dovecot's socket for authentication as the source of passwords. It keeps one connection at a time for all logins.
type dovecot struct {
	source  Source
	life    time.Duration // of a connection
	log     *slog.Logger
	running sync.WaitGroup // the readers of connections

	turn     chan struct{}   // has one element while somebody uses the fields below
	line     *authConnection // the newest; nil before the first
	fault    error           // why the newest try to connect failed
	failedAt time.Time       // when that was
	closed   bool
}

func newDovecot(s Source, log *slog.Logger) *dovecot {
	return &dovecot{source: s, life: dovecotLife, log: log, turn: make(chan struct{}, 1)}
}

func (d *dovecot) verify(ctx context.Context, try Attempt, login policy.Address) (policy.Address, error) {
	if login == (policy.Address{}) {
		return policy.Address{}, ErrDenied
	}
	ctx, cancel := context.WithTimeout(ctx, dovecotAnswer)
	defer cancel()
	for {
		line, fresh, err := d.connect(ctx)
		if err != nil {
			return policy.Address{}, d.unavailable(err)
		}
		answer, err := line.ask(ctx, try, login)
		switch {
		case err == nil:
		case errors.Is(err, errBroken) && !fresh:
			continue // Dovecot was started again since
		case errors.Is(err, context.DeadlineExceeded):
			line.fail(errBroken) // it no longer answers
			return policy.Address{}, d.unavailable(err)
		default:
			return policy.Address{}, d.unavailable(err)
		}
		return answer.result(login)
	}
}

func (d *dovecot) unavailable(err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	d.log.Error("Dovecot does not check passwords: nobody can sign in", "source", d.source.String(), "error", err)
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, d.source, err)
}

// connect returns the connection, and whether it was made just now.
func (d *dovecot) connect(ctx context.Context) (line *authConnection, fresh bool, err error) {
	began := time.Now()
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	if d.closed {
		return nil, false, net.ErrClosed
	}
	if d.line != nil && d.line.takes() {
		return d.line, false, nil
	}
	if d.failedAt.After(began) {
		return nil, false, d.fault // those who waited for that try need no second one
	}
	if line, err = dialAuth(ctx, d.source, d.life); err != nil {
		d.fault, d.failedAt = err, time.Now()
		return nil, false, err
	}
	d.line = line
	d.running.Go(line.read)
	return line, true, nil
}

func (d *dovecot) probe(ctx context.Context) (string, error) {
	line, err := dialAuth(ctx, d.source, d.life)
	switch {
	case errors.As(err, new(*net.OpError)):
		return "", fmt.Errorf("%w: contrib/dovecot/README.md says how Dovecot listens there for the daemon's user", err)
	case err != nil:
		return "", err
	}
	line.fail(errBroken)
	return d.source.String() + " answers and takes PLAIN", nil
}

func (d *dovecot) problems() []error { return nil }

// mark returns nothing: Dovecot does not tell when a password changes.
func (d *dovecot) mark(policy.Address) (string, error) { return "", nil }

func (d *dovecot) close() error {
	d.turn <- struct{}{}
	d.closed = true
	if d.line != nil {
		d.line.fail(net.ErrClosed)
	}
	<-d.turn
	d.running.Wait()
	return nil
}
