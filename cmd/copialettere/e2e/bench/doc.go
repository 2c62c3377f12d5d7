// Package bench measures what the hook costs: the same mail over the same path with the hook and without it, in interleaved rounds, printed
// as ratios; and what reading costs, beside Dovecot. It has no code of its own, and is built only under the tag bench, because it is a
// measurement and no test. "make bench" runs it; it needs some minutes, and two cores for itself.
//
// Ratios of one machine and one run say more than messages per second, which depend on the disk and on what else the machine does.
package bench
