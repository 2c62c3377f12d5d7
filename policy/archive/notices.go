package archive

import (
	"context"
	"fmt"
	"strings"
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
	if err := a.May(ctx, who, RightOperate, policy.Address{}); err != nil {
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

// ConfirmNotify puts the pending address for notices of a mailbox in force: with the code that was sent there, or, without a code, on the word of an
// operator. The error wraps notice.ErrCode, policy.ErrNotPending, policy.ErrSetting or policy.ErrForbidden.
func (a *Archive) ConfirmNotify(ctx context.Context, who policy.Actor, address policy.Address, code string) (Mailbox, error) {
	return a.turned(ctx, who, address, func() (bool, error) {
		if err := a.policy.May(who, address, policy.KeyNotify); err != nil {
			return false, err
		}
		m, err := a.policy.Mailbox(ctx, address)
		pending := m.Settings.NotifyPending
		switch {
		case err != nil:
			return false, err
		case code != "":
			err = a.options.Notices.CheckCode(ctx, m.Archive, pending, code)
		case who.Role != policy.RoleOperator:
			err = fmt.Errorf("%w for %s: give the code that was sent to the address", policy.ErrForbidden, who)
		}
		if err == nil {
			err = a.policy.ConfirmNotify(ctx, address, who, pending.Address)
		}
		return err == nil, err
	})
}

// waits says what of a change of settings is not in force yet, and until when.
func (a *Archive) waits(mailbox string, changes []policy.Change) []policy.Label {
	var list []policy.Label
	for _, c := range changes {
		value, until, waits := strings.Cut(c.After, " until ")
		if at, err := time.Parse(time.RFC3339Nano, until); err == nil {
			until = at.Local().Format(time.DateTime)
		}
		var l policy.Label
		switch {
		case !waits:
			continue
		case c.Key == policy.KeyNotifyPending && a.options.Notices == nil:
			l = policy.Label{
				Italian: "{value} va confermato entro il {until}. Senza [notices] nella configurazione non si può mandare un codice: copialettere mailbox confirm {mailbox} -confirmed",
				English: "{value} must be confirmed until {until}. Without [notices] in the configuration no code can be sent: copialettere mailbox confirm {mailbox} -confirmed",
			}
		case c.Key == policy.KeyNotifyPending:
			l = policy.Label{
				Italian: "A {value} viene mandato un codice. Riceve gli avvisi quando il codice è confermato, entro il {until}: copialettere mailbox confirm {mailbox} CODICE",
				English: "A code is sent to {value}. It gets the notices once the code is confirmed, until {until}: copialettere mailbox confirm {mailbox} CODE",
			}
		case c.Key == policy.KeyRetentionDelay:
			l = policy.Label{
				Italian: "Il titolare viene avvisato. Il periodo di conservazione più breve vale dal {until}.",
				English: "The owner is told. The shorter retention is in force from {until}.",
			}
		}
		r := strings.NewReplacer("{value}", value, "{until}", until, "{mailbox}", mailbox)
		list = append(list, policy.Label{Italian: r.Replace(l.Italian), English: r.Replace(l.English)})
	}
	return list
}
