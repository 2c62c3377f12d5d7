package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// accesses returns the access log of a mailbox, with the times left out.
func (r *rig) accesses(mailbox string) (list []Access) {
	r.t.Helper()
	for one, err := range r.Accesses(r.t.Context(), address(r.t, mailbox)) {
		if err != nil {
			r.t.Fatal(err)
		}
		if one.Time.IsZero() || one.Count > 1 && one.Until.Before(one.Time) || time.Since(one.Time) > time.Hour {
			r.t.Errorf("times of %+v", one)
		}
		one.Time, one.Until = time.Time{}, time.Time{}
		list = append(list, one)
	}
	return list
}

func TestAccessLog(t *testing.T) {
	r := newRig(t, anna+":"+cheap, mario+":"+cheap)
	for _, step := range []struct {
		login, password string
		protocol        Protocol
	}{
		{anna, password, ProtocolIMAP}, {"ANNA@alpha.test", "wrong", ProtocolIMAP}, {anna, "wrong too", ProtocolIMAP}, {anna, "wrong", ProtocolWeb},
		{mario, password, ProtocolWeb},  // has no archive
		{mario, password, ProtocolIMAP}, // nothing to open
		{mario, "wrong", ProtocolIMAP},
		{"nobody@alpha.test", password, ProtocolIMAP}, {"nobody", password, ProtocolIMAP},
	} {
		r.login(step.login, step.password, step.protocol)
	}
	r.set(anna, "imap=off")
	r.login(anna, password, ProtocolIMAP)
	from := remote.String()
	want := []Access{
		{Count: 1, Login: anna, Role: policy.RoleOwner, Protocol: ProtocolIMAP, Address: from, Result: ResultOK},
		{Count: 2, Login: anna, Protocol: ProtocolIMAP, Address: from, Result: ResultDenied},
		{Count: 1, Login: anna, Protocol: ProtocolWeb, Address: from, Result: ResultDenied},
		{Count: 1, Login: anna, Role: policy.RoleOwner, Protocol: ProtocolIMAP, Address: from, Result: ResultClosed},
	}
	if got := r.accesses(anna); !reflect.DeepEqual(got, want) {
		t.Errorf("anna's log\n%+v, want\n%+v", got, want)
	}
	want = []Access{{Count: 1, Login: mario, Role: policy.RoleOwner, Protocol: ProtocolWeb, Address: from, Result: ResultOK}}
	if got := r.accesses(mario); !reflect.DeepEqual(got, want) {
		t.Errorf("mario's log\n%+v, want\n%+v", got, want)
	}
	if got := r.accesses("nobody@alpha.test"); len(got) > 0 {
		t.Errorf("somebody who does not exist has %+v", got)
	}
}

// TestAccessLogBounds floods the log of one archive, from few addresses and from many.
func TestAccessLogBounds(t *testing.T) {
	r := newRig(t)
	archive := anna
	for n := range 3 * maxSources {
		one := Access{Time: time.Now(), Login: anna, Protocol: ProtocolIMAP, Address: netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}).String(), Result: ResultDenied}
		for range 5 {
			r.access.add(archive, one)
		}
	}
	list := r.accesses(anna)
	total := uint64(0)
	for _, one := range list {
		total += one.Count
	}
	if last := list[maxSources]; len(list) != maxSources+1 || total != 15*maxSources || last.Address != "" || last.Count != 10*maxSources {
		t.Errorf("%d records of %d failures: the last %+v", len(list), total, list[len(list)-1])
	}
	for n := range keptFailures + keptOK + 10 {
		one := Access{Time: time.Now(), Login: anna, Protocol: ProtocolIMAP, Result: ResultOK, AppPassword: fmt.Sprint(n)}
		if n < keptFailures {
			one.Result = ResultDenied
		}
		if r.access.add(archive, one); n%100 == 0 {
			r.access.write(t.Context(), true)
		}
	}
	list = r.accesses(anna)
	ok, failed := 0, 0
	for _, one := range list {
		if one.Result == ResultOK {
			ok++
		} else {
			failed++
		}
	}
	if ok != keptOK || failed != keptFailures || list[len(list)-1].AppPassword != fmt.Sprint(keptFailures+keptOK+9) {
		t.Errorf("%d and %d are kept", ok, failed)
	}
	removed, err := r.ForgetAccesses(t.Context(), time.Now().Add(time.Hour))
	if list := r.accesses(anna); err != nil || removed != keptOK+keptFailures || len(list) > 0 {
		t.Errorf("%d removed, %d left, %v", removed, len(list), err)
	}
	r.access.add(archive, Access{Time: time.Now(), Login: anna, Result: ResultOK})
	if removed, err := r.ForgetAccesses(t.Context(), time.Now().Add(-time.Hour)); err != nil || removed != 0 || len(r.accesses(anna)) != 1 {
		t.Errorf("%d removed, %v", removed, err)
	}
}

// TestAccessLogFull fills what waits to be written.
func TestAccessLogFull(t *testing.T) {
	r := newRig(t)
	for n := range maxGathered + 7 {
		r.access.add(fmt.Sprintf("user%d@alpha.test", n), Access{Time: time.Now(), Result: ResultDenied})
	}
	if lost := r.access.lost.Value(); lost != 7 {
		t.Errorf("%d lost, want 7", lost)
	}
}

// TestAccessLogOfSeveral writes one log by several processes at once, as far as the store can tell.
func TestAccessLogOfSeveral(t *testing.T) {
	r := newRig(t)
	var wait sync.WaitGroup
	const writers, records = 4, 50
	for w := range writers {
		wait.Go(func() {
			a := newAccessLog(r.store, r.options.Logger, r.options.Metrics)
			for n := range records {
				a.add(anna, Access{Time: time.Now(), Login: anna, Result: ResultOK, AppPassword: fmt.Sprint(w, " ", n)})
				if n%10 == 0 {
					a.write(context.Background(), false)
				}
			}
			a.close()
		})
	}
	wait.Wait()
	list := r.accesses(anna)
	names := make(map[string]bool)
	for _, one := range list {
		names[one.AppPassword] = true
	}
	if len(list) != writers*records || len(names) != writers*records {
		t.Errorf("%d records of %d logins, want %d", len(list), len(names), writers*records)
	}
}

// failing is a store whose Update number n fails, before it is made or after.
type failing struct {
	kv.Store
	n     int
	after bool
}

func (f *failing) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	if f.n--; f.n != 0 {
		return f.Store.Update(ctx, locks, fn)
	}
	if f.after {
		if err := f.Store.Update(ctx, locks, fn); err != nil {
			return err
		}
	}
	return errors.Join(kv.ErrUnavailable, kv.ErrUnknown)
}

// TestAccessLogFaults fails each write of a log in turn. The log stays readable, without a hole, and what is lost is counted.
func TestAccessLogFaults(t *testing.T) {
	for n := 1; n <= 4; n++ {
		for _, after := range []bool{false, true} {
			r := newRig(t)
			store := &failing{r.store, n, after}
			a := newAccessLog(store, r.options.Logger, r.options.Metrics)
			for i := range 3 {
				a.add(anna, Access{Time: time.Now(), Login: anna, Result: ResultDenied, AppPassword: fmt.Sprint(i)})
				a.write(t.Context(), true)
			}
			a.close()
			var names []string
			for _, one := range r.accesses(anna) {
				names = append(names, one.AppPassword)
			}
			want := []string{"0", "1", "2"}
			if n <= 3 && !after {
				want = slices.Delete(want, n-1, n)
			}
			lost := a.lost.Value()
			if !slices.Equal(names, want) || (lost == 1) != (n <= 3) {
				t.Errorf("write %d fails, after it %v: %q are there, %d lost", n, after, names, lost)
			}
		}
	}
}
