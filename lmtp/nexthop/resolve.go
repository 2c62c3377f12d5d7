package nexthop

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
)

// maxAddresses bounds how many addresses of one hop are tried.
const maxAddresses = 16

// Resolver is the part of DNS that a hop needs. *net.Resolver is one.
type Resolver interface {
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// address is one place to dial.
type address struct {
	network string // "tcp" or "unix"
	address string
}

func (a address) String() string {
	if a.network == "unix" {
		return "unix:" + a.address
	}
	return a.address
}

// addresses lists where a hop may be reached, in the order to try. Of several SRV targets, one that has no address is passed over.
func (h *Hop) addresses(ctx context.Context) ([]address, error) {
	if h.spec.Path != "" {
		return []address{{"unix", h.spec.Path}}, nil
	}
	if h.spec.Scheme != LMTPSRV {
		return h.hostAddresses(ctx, h.spec.Host, h.spec.Port)
	}
	_, records, err := h.options.Resolver.LookupSRV(ctx, "lmtp", "tcp", h.spec.Host)
	if err != nil {
		return nil, fmt.Errorf("looking up the SRV records: %w", err)
	}
	// A single target "." means that the service is not offered (RFC 2782).
	if len(records) == 0 || len(records) == 1 && records[0].Target == "." {
		return nil, errors.New("the SRV records offer no LMTP service")
	}
	var found []address
	var errs []error
	for _, r := range orderSRV(records, h.random) {
		list, err := h.hostAddresses(ctx, r.Target, r.Port)
		if err != nil {
			errs = append(errs, err)
		}
		found = append(found, list...)
	}
	if len(found) == 0 {
		return nil, errors.Join(errs...)
	}
	return found[:min(len(found), maxAddresses)], nil
}

// hostAddresses resolves one host. The order is the resolver's, which knows RFC 6724.
func (h *Hop) hostAddresses(ctx context.Context, host string, port uint16) ([]address, error) {
	portText := strconv.Itoa(int(port))
	if net.ParseIP(host) != nil {
		return []address{{"tcp", net.JoinHostPort(host, portText)}}, nil
	}
	ips, err := h.options.Resolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("looking up %s: %w", host, err)
	}
	if len(ips) == 0 {
		return nil, fmt.Errorf("looking up %s: it has no address", host)
	}
	var list []address
	for _, ip := range ips[:min(len(ips), maxAddresses)] {
		list = append(list, address{"tcp", net.JoinHostPort(ip.String(), portText)})
	}
	return list, nil
}

// orderSRV returns the records by priority and, within one, in a random order in which a larger weight tends to come first
// (RFC 2782, "Weight"). random(n) returns a number in [0, n). Resolvers other than net's do not order them.
func orderSRV(records []*net.SRV, random func(n int) int) []*net.SRV {
	rest := slices.Clone(records)
	// Within a priority the weight 0 comes first, so that it is chosen only when the number drawn is 0.
	slices.SortStableFunc(rest, func(a, b *net.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Weight, b.Weight))
	})
	ordered := make([]*net.SRV, 0, len(rest))
	for len(rest) > 0 {
		sum, same := 0, 0
		for same < len(rest) && rest[same].Priority == rest[0].Priority {
			sum += int(rest[same].Weight)
			same++
		}
		drawn, running, i := random(sum+1), 0, 0
		for ; i < same-1; i++ {
			if running += int(rest[i].Weight); running >= drawn {
				break
			}
		}
		ordered = append(ordered, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
	return ordered
}
