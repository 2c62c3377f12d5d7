package pull

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/notice"
	"copialettere/policy/source"
)

// tellAfter is after how many runs in a row that did not go through the owner is told: after three hours at most, where it is tried again that often.
const tellAfter = 3

// failing reports whether a profile that runs by itself has failed so often that its owner is told.
func failing(p *source.Profile) bool { return p.Every > 0 && p.Failures >= tellAfter }

// tell tells the owner that a profile fails, once for all runs in a row that do not go through, and then once that it works again. A crash between the
// notice and its record makes no second notice: see notice.OfPull. An archive that was paused or switched off by a person is no fault.
func (s *Service) tell(ctx context.Context, of string, p *source.Profile, err error) error {
	kind, cause := notice.PullAgain, notice.PullCause("")
	switch {
	case err == nil && p.Told:
	case err != nil && failing(p) && !p.Told && !errors.Is(err, archive.ErrNotOn) && !errors.Is(err, archive.ErrReadOnly):
		kind, cause = notice.PullFailing, CauseOf(err)
	default:
		return nil
	}
	a := s.archive.Load()
	if err := a.TellPull(ctx, of, kind, p, cause); err != nil {
		return err
	}
	return a.Sources().Tell(ctx, of, p.Name, kind == notice.PullFailing)
}

// CauseOf returns why a run or a test of a profile did not go through, for its owner, who sees no words that are not meant for people.
func CauseOf(err error) notice.PullCause {
	var certificate *tls.CertificateVerificationError
	var connection *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return notice.PullStopped
	case errors.Is(err, archive.ErrNotOn), errors.Is(err, archive.ErrReadOnly):
		return notice.PullNotOn
	case errors.Is(err, policy.ErrForbidden):
		return notice.PullForbidden
	case errors.As(err, &certificate):
		return notice.PullCertificate
	case errors.Is(err, ErrLogin):
		return notice.PullLogin
	case errors.Is(err, ErrBusy):
		return notice.PullBusy
	case errors.Is(err, ErrFull):
		return notice.PullFull
	case errors.Is(err, source.ErrKey):
		return notice.PullPassword
	case errors.Is(err, ErrUnreachable):
		return notice.PullAddress
	case errors.Is(err, ErrNoFolder):
		return notice.PullFolder
	case errors.As(err, &connection) && connection.Op == "dial":
		return notice.PullUnreachable
	case errors.Is(err, ErrAccount):
		return notice.PullServer
	}
	return notice.PullHere
}
