package archive

import (
	"context"
	"fmt"
	"time"

	"copialettere/policy"
	"copialettere/policy/notice"
)

// QuotaWarning is the answer to a warning of the mailstore. Others script against its names.
type QuotaWarning struct {
	Mailbox string `json:"mailbox"`
	Percent int    `json:"percent"`
	// Told is false if the owner gets no notice of it: there is no archive, no address for notices, or no wish for them (notify_on=mailbox-full), or
	// the configuration has no [notices].
	Told bool `json:"told"`
}

// WarnQuota tells the owner of a mailbox that the live mailbox, not its archive, has reached a percentage of its quota, from 1 to 100. The
// mailstore asks for it. It needs RightOperate; the error wraps ErrRequest if the percentage is none.
func (a *Archive) WarnQuota(ctx context.Context, who policy.Actor, address policy.Address, percent int) (QuotaWarning, error) {
	if err := a.May(who, RightOperate, policy.Address{}); err != nil {
		return QuotaWarning{}, err
	}
	if percent < 1 || percent > 100 {
		return QuotaWarning{}, fmt.Errorf("%w: percent %d: want a number from 1 to 100", ErrRequest, percent)
	}
	m, err := a.policy.Mailbox(ctx, address)
	if err != nil {
		return QuotaWarning{}, err
	}
	w := QuotaWarning{Mailbox: address.String(), Percent: percent, Told: a.options.Notices != nil && m.Settings.Tells(policy.NotifyMailboxFull)}
	if w.Told {
		err = a.options.Notices.Queue(ctx, notice.MailboxFull(m.Archive, percent, time.Now()))
	}
	return w, err
}
