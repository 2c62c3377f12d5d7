package pull

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ErrBusy says that a server takes no more for now, also after all waits. What came before is kept, and the next run goes on.
var ErrBusy = errors.New("the server takes no more for now")

// errSilent is a server that closes a connection at once: Courier does so with the 21st of an address.
var errSilent = errors.New("the server closes the connection without a word, as some do where too many are open")

// busyWaits are how long a run waits, one after the other, when a server asks to be left alone. It begins anew with each batch that comes, but a run does
// not wait longer than mostWait in all: others wait for its slot.
var busyWaits = [...]time.Duration{5 * time.Second, 20 * time.Second, time.Minute}

const mostWait = 15 * time.Minute

// busyCodes are the response codes of a server that is to be left alone for a while: those of RFC 5530, and what large providers send.
var busyCodes = []string{"UNAVAILABLE", "LIMIT", "INUSE", "THROTTLED"}

// busy reports whether an error says that the same may go well later.
func busy(err error) bool {
	var refused *statusError
	var bye *byeError
	switch {
	case errors.Is(err, errSilent):
		return true
	case errors.As(err, &refused):
		return refused.status == "NO" && slices.Contains(busyCodes, codeOf(refused.text))
	case errors.As(err, &bye):
		return slices.Contains(busyCodes, codeOf(bye.text))
	}
	return false
}

// inUse reports whether an error is about a folder that somebody else uses, and not about the whole server.
func inUse(err error) bool {
	var refused *statusError
	return errors.As(err, &refused) && codeOf(refused.text) == "INUSE"
}

// stillBusy reports whether an error of wait says that there is no more waiting for the same, while the run goes on.
func stillBusy(err error) bool {
	var end endError
	return errors.Is(err, ErrBusy) && !errors.As(err, &end)
}

// codeOf returns the name of the response code that a text begins with; empty without one.
func codeOf(text string) string {
	if !strings.HasPrefix(text, "[") {
		return ""
	}
	inside, _, _ := strings.Cut(text[1:], "]")
	name, _, _ := strings.Cut(inside, " ")
	return strings.ToUpper(name)
}

// wait waits because of what a server said, a busy error. When it has waited enough the error wraps ErrBusy and that; it is an endError when the run has.
func (p *puller) wait(ctx context.Context, said error) error {
	enough := fmt.Errorf("%w: %w", ErrBusy, said)
	switch {
	case p.waited >= mostWait:
		return endError{enough}
	case p.impatient || p.waits == len(busyWaits):
		return enough
	}
	d := busyWaits[p.waits]
	p.waits++
	p.waited += d
	if err := p.tell(Result{State: StateWaiting, SourceFolder: p.name, Detail: fmt.Sprintf("%s: %v", d, said)}); err != nil {
		return err
	}
	return p.o.Wait(ctx, d)
}

// waitAgain is wait, and connects anew where the connection was lost.
func (p *puller) waitAgain(ctx context.Context, said error) error {
	if err := p.wait(ctx, said); err != nil {
		return err
	}
	var refused *statusError
	if errors.As(said, &refused) {
		return nil
	}
	return p.again(ctx)
}

// came notes that the server has given something: it is not busy any more, unless because of one message that is sought.
func (p *puller) came() {
	if p.balked = false; !p.seeking {
		p.waits = 0
	}
}

// sleep is Options.Wait where it is nil.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
