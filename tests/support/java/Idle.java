import java.io.File;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/** Prints "ready PID" and sleeps until it is killed. Arguments: [megabytes of live data]. */
public class Idle {
    /** Live data that a histogram finds by name: a megabyte each. */
    static class Ballast {
        final byte[] bytes = new byte[1 << 20];
    }

    static final List<Ballast> LIVE = new ArrayList<>();

    public static void main(String[] arguments) throws Exception {
        int megabytes = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 0;
        // Half of it compresses and half does not, as in a heap of objects and encrypted or packed payloads.
        Random random = new Random(1);
        byte[] noise = new byte[1 << 19];
        for (int i = 0; i < megabytes; i++) {
            Ballast ballast = new Ballast();
            random.nextBytes(noise);
            System.arraycopy(noise, 0, ballast.bytes, 0, noise.length);
            LIVE.add(ballast);
        }
        // ProcessHandle came with 9, and the class file has to run on 8.
        System.out.println("ready " + new File("/proc/self").getCanonicalFile().getName());
        System.out.flush();
        Thread.sleep(Long.MAX_VALUE);
    }
}
