package pull

import (
	"strconv"
	"strings"
)

// setOf writes ascending UIDs as a set (RFC 3501 section 9), such as "1:3,7". It has no UID that is not among them.
func setOf(uids []uint32) string {
	var set strings.Builder
	for i := 0; i < len(uids); {
		last := i
		for last+1 < len(uids) && uids[last+1] == uids[last]+1 {
			last++
		}
		if i > 0 {
			set.WriteByte(',')
		}
		set.WriteString(strconv.FormatUint(uint64(uids[i]), 10))
		if last > i {
			set.WriteByte(':')
			set.WriteString(strconv.FormatUint(uint64(uids[last]), 10))
		}
		i = last + 1
	}
	return set.String()
}
