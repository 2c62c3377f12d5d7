package housekeeping

import (
	"context"
	"time"

	"copialettere/journal"
)

// verifyEvery is how often a Keeper looks whether a verification is due. The first look comes that long after the start, when mail has come first.
const verifyEvery = time.Minute

// verifyWhenDue verifies the archive in the background whenever that is due, until ctx ends.
func (k *Keeper) verifyWhenDue(ctx context.Context) {
	tick := time.NewTicker(verifyEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			k.Verify(ctx)
		}
	}
}

// Verify goes on with the verification in the background, or begins one if that is due, and returns when it has ended or was broken off. It logs
// the result, and each fault once.
func (k *Keeper) Verify(ctx context.Context) {
	every := k.schedule.Load().VerifyEvery
	if every == 0 {
		return
	}
	pass, err := k.options.Journal.KeepVerified(ctx, journal.PassOptions{
		Every: every, Made: k.options.Made, Rate: k.verifyRate, Fault: k.fault, Evidence: k.evidence(ctx),
	})
	switch {
	case err != nil && k.verifyRate() == 0:
		k.log.Info("verification of the archive switched off: it goes on from here when it is switched on again")
		return
	case err != nil:
		k.failed(ctx, "verification of the archive broken off, will be resumed", err)
		return
	case pass == nil:
		return
	}
	clear(k.named)
	r := pass.Report
	log := k.log.Info
	if r.Faults > 0 {
		log = k.log.Error
		k.options.Faulty(r.Faults, r.Details)
	}
	log("archive verified", "entries", r.Entries, "bytes", r.Bytes, "faults", r.Faults, "months_passed_over", len(r.PassedOver),
		"begun", pass.Begun, "took", pass.Ended.Sub(pass.Begun).Round(time.Second))
}

// evidence returns what tells how the checkpoints are judged.
func (k *Keeper) evidence(ctx context.Context) func() journal.EvidenceOptions {
	if k.options.Checkpoints == nil {
		return nil
	}
	return func() journal.EvidenceOptions {
		o, err := k.options.Checkpoints.Evidence()
		if err != nil {
			k.failed(ctx, "checkpoints are not wholly judged", err)
		}
		return o
	}
}

// verifyRate returns how many bytes a second a verification may read now; 0 once it is switched off.
func (k *Keeper) verifyRate() int64 {
	s := k.schedule.Load()
	if s.VerifyEvery == 0 {
		return 0
	}
	return s.VerifyRate
}

// fault takes a fault that the verification under way has found. The operator is told of the first at once, and of all at the end: that may be weeks
// away.
func (k *Keeper) fault(detail string) {
	if k.named[detail] {
		return
	}
	if len(k.named) == 0 {
		k.options.Faulty(1, []string{detail})
	}
	k.named[detail] = true
	k.log.Error("fault in the archive", "detail", detail)
}
