package archive

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/auth"
)

// KeySessions is the key under which the log of a mailbox tells of sessions of the pages that were ended from elsewhere: before and after have how many
// there were.
const KeySessions = "sessions"

// Sessions returns in which browsers the login of a mailbox has signed in to the pages, that used last first.
func (a *Archive) Sessions(ctx context.Context, address policy.Address) ([]auth.Session, error) {
	return a.options.Auth.Sessions(ctx, address)
}

// EndSessions ends the sessions of the login of a mailbox: that with an ID, or with "" all but that with the ID keep. It puts that on record, and returns
// how many they were. It needs RightRevoke.
func (a *Archive) EndSessions(ctx context.Context, who policy.Actor, address policy.Address, id, keep string) (ended int, err error) {
	if err := a.May(ctx, who, RightRevoke, address); err != nil {
		return 0, err
	}
	open, err := a.options.Auth.Sessions(ctx, address)
	if err != nil {
		return 0, err
	}
	ended, err = a.options.Auth.EndSessions(ctx, address, func(one string) bool { return one == id || id == "" && one != keep })
	if err == nil && ended > 0 {
		before := max(len(open), ended)
		err = a.policy.Note(ctx, address, who, KeySessions, func(kv.Tx, string, time.Time) (string, string, error) {
			return strconv.Itoa(before), strconv.Itoa(before - ended), nil
		})
		if err != nil {
			err = fmt.Errorf("the sessions of %s are ended, but that is not on record: %w", address, err)
		}
	}
	return ended, err
}
