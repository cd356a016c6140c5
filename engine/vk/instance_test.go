package vk

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	vulkan "github.com/vulkan-go/vulkan"
)

func machine() []Info {
	return []Info{
		{Index: 0, Name: "llvmpipe (LLVM, 256 bits)", Type: CPU},
		{Index: 1, Name: "Intel(R) UHD Graphics", Type: Integrated},
		{Index: 2, Name: "NVIDIA GeForce RTX", Type: Discrete},
		{Index: 3, Name: "AMD Radeon RX", Type: Discrete},
	}
}

func TestSelectFindsByIndexNameAndKind(t *testing.T) {
	for want, index := range map[string]int{"": 2, "cpu": 0, "CPU": 0, "0": 0, "1": 1, "3": 3, "radeon": 3, "GeForce": 2, "intel(r) uhd": 1} {
		got, err := Select(machine(), want)
		require.NoError(t, err, want)
		assert.Equal(t, index, got.Index, "%q", want)
	}
}

func TestSelectPrefersTheFasterKind(t *testing.T) {
	got, err := Select(machine()[:2], "")
	require.NoError(t, err)
	assert.Equal(t, Integrated, got.Type)
	kinds := []Info{{Type: CPU}, {Type: Other}, {Type: Virtual}, {Type: Integrated}, {Type: Discrete}}
	for n, want := range []Type{CPU, Other, Virtual, Integrated, Discrete} {
		got, err := Select(kinds[:n+1], "")
		require.NoError(t, err)
		assert.Equal(t, want, got.Type)
	}
}

func TestSelectNamesWhatThereIs(t *testing.T) {
	_, err := Select(machine()[1:3], "arc")
	assert.EqualError(t, err, `device "arc": not among [1: Intel(R) UHD Graphics, 2: NVIDIA GeForce RTX]`)
	_, err = Select(machine()[3:], "cpu")
	assert.EqualError(t, err, "device cpu: no software device among [3: AMD Radeon RX]: install lavapipe (mesa-vulkan-drivers)")
}

func TestBaselineNamesWhatIsMissing(t *testing.T) {
	good := Info{Name: "GPU", APIVersion: 1<<22 | 2<<12 | 131, BufferDeviceAddress: true}
	assert.NoError(t, good.Baseline())
	assert.Equal(t, "1.2.131", good.Version())
	old, bare := good, good
	old.APIVersion, bare.BufferDeviceAddress = 1<<22|1<<12|5, false
	assert.EqualError(t, old.Baseline(), "device GPU: Vulkan 1.1.5, but 1.2 is needed")
	assert.EqualError(t, bare.Baseline(), "device GPU: lacks the feature bufferDeviceAddress")
	in, err := Open()
	require.NoError(t, err)
	defer in.Close()
	_, err = in.OpenDevice(bare)
	assert.ErrorContains(t, err, "lacks the feature bufferDeviceAddress")
}

func TestDevicesAreDescribed(t *testing.T) {
	in, err := Open()
	require.NoError(t, err)
	defer in.Close()
	infos, err := in.Devices()
	require.NoError(t, err)
	for i, d := range infos {
		assert.Equal(t, i, d.Index)
		assert.NotEmpty(t, d.Name)
		assert.NotEmpty(t, d.Vendor)
		assert.NotEmpty(t, d.Driver)
		assert.Positive(t, d.Memory, d.Name)
		assert.Positive(t, d.MaxAllocation, d.Name)
		assert.GreaterOrEqual(t, d.MaxWorkgroup, 128, d.Name) // the least that Vulkan allows
		assert.GreaterOrEqual(t, d.SharedMemory, 16384, d.Name)
		assert.Positive(t, d.SubgroupSize, d.Name)
		assert.Positive(t, d.TimestampPeriod, d.Name)
	}
}

// The loader is told to find no driver in a process of its own: this one has
// loaded it already.
func TestOpenWithoutADriver(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	command := exec.Command(self)
	command.Env = append(os.Environ(), openOnly+"=1", "VK_DRIVER_FILES=/nonexistent", "VK_ICD_FILENAMES=/nonexistent",
		"VK_LOADER_DEBUG=", "VK_INSTANCE_LAYERS=") // the loader's own chatter is not ours to judge
	out, err := command.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Regexp(t, `^no Vulkan device: .* true\n$`, string(out))
}

func TestResultsUnwrapToSentinels(t *testing.T) {
	assert.NoError(t, check("vkQueueSubmit", vulkan.Success))
	for code, want := range map[vulkan.Result]error{
		vulkan.ErrorOutOfDeviceMemory: ErrOutOfMemory, vulkan.ErrorOutOfHostMemory: ErrOutOfMemory,
		vulkan.ErrorDeviceLost: ErrDeviceLost, vulkan.ErrorIncompatibleDriver: ErrNoDevice,
	} {
		assert.ErrorIs(t, check("vkQueueSubmit", code), want)
	}
	err := check("vkQueueSubmit", vulkan.ErrorFormatNotSupported)
	assert.Equal(t, Result{Call: "vkQueueSubmit", Code: -11}, err)
	assert.ErrorContains(t, err, "vkQueueSubmit: ")
	assert.ErrorContains(t, Result{Call: "vkQueueSubmit", Code: 5}, "vkQueueSubmit: ")
}

func TestNewPipelineRefusesWhatIsNoModule(t *testing.T) {
	d := testDevice(t)
	for _, code := range [][]byte{nil, {1, 2, 3}} {
		_, err := d.NewPipeline("broken", code, nil)
		assert.ErrorContains(t, err, "kernel broken: SPIR-V of ")
	}
}

func TestPushAndBytesViewMemory(t *testing.T) {
	block := struct {
		Address uint64
		A, B    uint32
	}{1, 2, 3}
	assert.Equal(t, []byte{1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0}, Push(&block))
	assert.Equal(t, []byte{1, 2, 0, 0}, Bytes([]uint16{0x201, 0}))
	assert.Nil(t, Bytes([]uint32{}))
}
